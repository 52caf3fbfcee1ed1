//! Tables of routes, and which of them a request is for, by the reference's rules.

use http::Method;

/// A segment of a route's path.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) enum Part {
    /// This very segment.
    Is(&'static str),
    /// Any segment that is not empty.
    Any,
    /// `ipfs`, `ipns` or `ipld`.
    Namespace,
    /// All that follows, slashes included.
    Rest,
}

/// A route: its method, its path, what it is.
pub(in crate::api) type Row<R> = (Method, &'static [Part], R);

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::api) enum Found<'a, R> {
    /// This route, with what the variable part of the path says: a hash, a name, or a path with its namespace.
    Route(R, &'a str),
    /// No such path.
    Nothing,
    /// The path is there, for other methods.
    MethodNotAllowed,
}

/// Finds the route of a decoded path.
pub(in crate::api) fn find<'a, R: Copy>(rows: &[Row<R>], method: &Method, path: &'a str) -> Found<'a, R> {
    let mut mismatch = false;
    for (route_method, pattern, route) in rows {
        match (matches(path, pattern), method == route_method) {
            (Some(argument), true) => return Found::Route(*route, argument),
            (Some(_), false) => mismatch = true,
            (None, true) => mismatch = false,
            (None, false) => {}
        }
    }
    if mismatch { Found::MethodNotAllowed } else { Found::Nothing }
}

/// The variable part of the path, if the path is of this form.
fn matches<'a>(path: &'a str, pattern: &[Part]) -> Option<&'a str> {
    let mut rest = path.strip_prefix('/')?;
    let mut argument = "";
    for (i, part) in pattern.iter().enumerate() {
        let last = i + 1 == pattern.len();
        if matches!(part, Part::Rest) {
            return Some(argument_with_rest(path, argument));
        }
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) if !last => (segment, after),
            None if last => (rest, ""),
            _ => return None,
        };
        match part {
            Part::Is(word) if segment != *word => return None,
            Part::Any if segment.is_empty() => return None,
            Part::Namespace if !matches!(segment, "ipfs" | "ipns" | "ipld") => return None,
            Part::Is(_) => {}
            _ => argument = segment,
        }
        rest = after;
    }
    Some(argument)
}

/// A path below a namespace: `/ipfs/…` with what follows.
fn argument_with_rest<'a>(path: &'a str, namespace: &str) -> &'a str {
    let at = path.find(&format!("/{namespace}/")).unwrap_or(0);
    &path[at..]
}
