//! Arguments as users of the reference type them: long names work after a single dash too, and flags take `=true` or
//! `=false`.

use clap::{ArgAction, Command};
use std::collections::BTreeSet;
use std::ffi::OsString;

/// The arguments as the definition reads them, up to a `--`: `-wl` becomes `--wl`; `--wait=true` becomes `--wait`, and
/// `--wait=false` goes away, if `wait` is a flag without a value. What is no name after a dash stays as it is.
pub fn as_defined(definition: &Command, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let flags = flags(definition);
    let mut ended = false;
    let read = |arg: OsString| {
        ended |= arg == "--";
        let Some(text) = arg.to_str().filter(|_| !ended) else { return Some(arg) };
        let text = if is_single_dashed_name(text) { format!("-{text}") } else { text.to_owned() };
        match text.strip_prefix("--").and_then(|rest| rest.split_once('=')) {
            Some((name, value)) if flags.contains(name) => match truth(value) {
                Some(true) => Some(format!("--{name}").into()),
                Some(false) => None,
                None => Some(text.into()),
            },
            _ => Some(text.into()),
        }
    };
    args.into_iter().filter_map(read).collect()
}

/// As Go's `strconv.ParseBool`.
fn truth(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Names of flags without a value that are nowhere names of anything else.
fn flags(definition: &Command) -> BTreeSet<String> {
    let (mut flags, mut others) = (BTreeSet::new(), BTreeSet::new());
    let mut commands = vec![definition];
    while let Some(command) = commands.pop() {
        for arg in command.get_arguments() {
            let into = if matches!(arg.get_action(), ArgAction::SetTrue) { &mut flags } else { &mut others };
            into.extend(arg.get_long_and_visible_aliases().unwrap_or_default().into_iter().map(str::to_owned));
        }
        commands.extend(command.get_subcommands());
    }
    flags.retain(|name| !others.contains(name));
    flags
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
    use clap::Arg;

    #[test]
    fn what_users_of_the_reference_type_is_understood() {
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let below = Command::new("add").args([flag("wl"), flag("wait"), flag("both")]);
        let definition =
            Command::new("ctl").args([Arg::new("encoding").long("encoding"), Arg::new("both").long("both")]);
        let definition = definition.subcommand(below);
        let given = [
            "ctl",
            "-encoding=json",
            "-r",
            "--wait",
            "--wait=false",
            "-wl=T",
            "--wait=x",
            "--both=true",
            "-",
            "-5s",
            "--",
            "-wl",
            "--wait=true",
        ];

        let read = as_defined(&definition, given.map(OsString::from));

        let expected = [
            "ctl",
            "--encoding=json",
            "-r",
            "--wait",
            "--wl",
            "--wait=x",
            "--both=true",
            "-",
            "-5s",
            "--",
            "-wl",
            "--wait=true",
        ];
        assert_eq!(read, expected);
    }
}
