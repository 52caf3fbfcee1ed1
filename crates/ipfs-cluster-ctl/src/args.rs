//! Arguments as users of the reference type them: long names work after a single dash too.

use std::ffi::OsString;

/// The arguments with `-wl` turned into `--wl`, up to a `--`. What is no name after a dash stays as it is.
pub(crate) fn with_double_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut ended = false;
    let double = |arg: OsString| {
        ended |= arg == "--";
        match arg.to_str() {
            Some(text) if !ended && is_single_dashed_name(text) => OsString::from(format!("-{text}")),
            _ => arg,
        }
    };
    args.into_iter().map(double).collect()
}

/// Whether this is a dash and a name of two letters or more, with or without a value.
fn is_single_dashed_name(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('-') else { return false };
    let name = rest.split('=').next().unwrap_or("");
    name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_after_one_dash_get_a_second() {
        let given = ["ctl", "-encoding=json", "-r", "--wait", "-", "-5s", "--", "-wl"];
        let turned = with_double_dashes(given.map(OsString::from));
        assert_eq!(turned, ["ctl", "--encoding=json", "-r", "--wait", "-", "-5s", "--", "-wl"]);
    }
}
