//! Which route a request is for, by the reference's rules.

pub(super) use crate::api::door::table::Found;
use crate::api::door::table::{
    self,
    Part::{self, Any, Is, Namespace, Rest},
    Row,
};
use http::Method;

/// The routes, as the reference names its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Id,
    Version,
    Peers,
    PeerAdd,
    PeerRemove,
    Add,
    Allocations,
    Allocation,
    StatusAll,
    Recover,
    RecoverAll,
    Status,
    Pin,
    PinPath,
    Unpin,
    UnpinPath,
    RepoGc,
    Graph,
    Alerts,
    Bandwidth,
    Metrics,
    MetricNames,
    Token,
    Health,
    OpenApi,
    StateDigest,
    Explain,
}

/// The name of the route that a request is for; `none` if there is none.
pub(super) fn name(method: &Method, path: &str) -> &'static str {
    match find(method, path) {
        Found::Route(route, _) => name_of(route),
        _ => "none",
    }
}

/// The name of a route.
pub(super) fn name_of(route: Route) -> &'static str {
    match route {
        Route::Id => "Id",
        Route::Version => "Version",
        Route::Peers => "Peers",
        Route::PeerAdd => "PeerAdd",
        Route::PeerRemove => "PeerRemove",
        Route::Add => "Add",
        Route::Allocations => "Allocations",
        Route::Allocation => "Allocation",
        Route::StatusAll => "StatusAll",
        Route::Recover => "Recover",
        Route::RecoverAll => "RecoverAll",
        Route::Status => "Status",
        Route::Pin => "Pin",
        Route::PinPath => "PinPath",
        Route::Unpin => "Unpin",
        Route::UnpinPath => "UnpinPath",
        Route::RepoGc => "RepoGc",
        Route::Graph => "Graph",
        Route::Alerts => "Alerts",
        Route::Bandwidth => "Bandwidth",
        Route::Metrics => "Metrics",
        Route::MetricNames => "MetricNames",
        Route::Token => "Token",
        Route::Health => "Health",
        Route::OpenApi => "OpenApi",
        Route::StateDigest => "StateDigest",
        Route::Explain => "Explain",
    }
}

/// All routes, in the order in which the reference looks at them: it decides between 404 and 405.
const ROUTES: &[Row<Route>] = &[
    (Method::GET, &[Is("id")], Route::Id),
    (Method::GET, &[Is("version")], Route::Version),
    (Method::GET, &[Is("peers")], Route::Peers),
    (Method::POST, &[Is("peers")], Route::PeerAdd),
    (Method::DELETE, &[Is("peers"), Any], Route::PeerRemove),
    (Method::POST, &[Is("add")], Route::Add),
    (Method::GET, &[Is("allocations")], Route::Allocations),
    (Method::GET, &[Is("allocations"), Any], Route::Allocation),
    (Method::GET, &[Is("pins")], Route::StatusAll),
    (Method::POST, &[Is("pins"), Any, Is("recover")], Route::Recover),
    (Method::POST, &[Is("pins"), Is("recover")], Route::RecoverAll),
    (Method::GET, &[Is("pins"), Any], Route::Status),
    (Method::POST, &[Is("pins"), Any], Route::Pin),
    (Method::POST, &[Is("pins"), Namespace, Rest], Route::PinPath),
    (Method::DELETE, &[Is("pins"), Any], Route::Unpin),
    (Method::DELETE, &[Is("pins"), Namespace, Rest], Route::UnpinPath),
    (Method::POST, &[Is("ipfs"), Is("gc")], Route::RepoGc),
    (Method::GET, &[Is("health"), Is("graph")], Route::Graph),
    (Method::GET, &[Is("health"), Is("alerts")], Route::Alerts),
    (Method::GET, &[Is("health"), Is("bandwidth")], Route::Bandwidth),
    (Method::GET, &[Is("monitor"), Is("metrics"), Any], Route::Metrics),
    (Method::GET, &[Is("monitor"), Is("metrics")], Route::MetricNames),
    (Method::POST, &[Is("token")], Route::Token),
    (Method::GET, &[Is("health")], Route::Health),
    (Method::GET, &[Is("openapi.json")], Route::OpenApi),
    (Method::GET, &[Is("state"), Is("digest")], Route::StateDigest),
    (Method::GET, &[Is("pins"), Any, Is("explain")], Route::Explain),
];

/// All routes: method, path with its variable parts in braces, name.
pub(super) fn all() -> impl Iterator<Item = (&'static Method, String, Route)> {
    let path = |parts: &[Part]| -> String {
        let text = |part: &Part| match part {
            Is(word) => format!("/{word}"),
            Any if matches!(parts[0], Is("peers")) => "/{peer}".into(),
            Any if matches!(parts[0], Is("monitor")) => "/{name}".into(),
            Any => "/{cid}".into(),
            Namespace => "/{namespace}".into(),
            Rest => "/{path}".into(),
        };
        parts.iter().map(text).collect()
    };
    ROUTES.iter().map(move |(method, parts, route)| (method, path(parts), *route))
}

/// Finds the route of a decoded path.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a, Route> {
    table::find(ROUTES, method, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_with_their_argument() {
        assert_eq!(find(&Method::GET, "/id"), Found::Route(Route::Id, ""));
        assert_eq!(find(&Method::POST, "/pins/Qm1"), Found::Route(Route::Pin, "Qm1"));
        assert_eq!(find(&Method::POST, "/pins/recover"), Found::Route(Route::RecoverAll, ""));
        assert_eq!(find(&Method::GET, "/pins/recover"), Found::Route(Route::Status, "recover"));
        assert_eq!(find(&Method::POST, "/pins/Qm1/recover"), Found::Route(Route::Recover, "Qm1"));
        assert_eq!(find(&Method::POST, "/pins/ipfs/recover"), Found::Route(Route::Recover, "ipfs"));
        assert_eq!(find(&Method::POST, "/pins/ipfs/Qm1/a/b"), Found::Route(Route::PinPath, "/ipfs/Qm1/a/b"));
        assert_eq!(find(&Method::DELETE, "/pins/ipns/x"), Found::Route(Route::UnpinPath, "/ipns/x"));
        assert_eq!(find(&Method::POST, "/pins/ipfs"), Found::Route(Route::Pin, "ipfs"));
        assert_eq!(find(&Method::GET, "/monitor/metrics/tag:group"), Found::Route(Route::Metrics, "tag:group"));
    }

    /// The table of the reference's observed answers.
    #[test]
    fn other_methods_answer_404_or_405_as_the_reference_does() {
        let expected = [
            (Method::POST, "/id", Found::Nothing),
            (Method::PUT, "/id", Found::MethodNotAllowed),
            (Method::HEAD, "/pins", Found::MethodNotAllowed),
            (Method::GET, "/add", Found::Nothing),
            (Method::DELETE, "/ipfs/gc", Found::MethodNotAllowed),
            (Method::GET, "/ipfs/gc", Found::Nothing),
            (Method::POST, "/health/alerts", Found::Nothing),
            (Method::DELETE, "/health/alerts", Found::MethodNotAllowed),
            (Method::DELETE, "/peers", Found::Nothing),
            (Method::PUT, "/peers", Found::MethodNotAllowed),
            (Method::GET, "/peers/x", Found::Nothing),
            (Method::POST, "/peers/x", Found::Nothing),
            (Method::PUT, "/peers/x", Found::MethodNotAllowed),
            (Method::POST, "/health/graph", Found::Nothing),
            (Method::DELETE, "/health/graph", Found::MethodNotAllowed),
            (Method::POST, "/health", Found::MethodNotAllowed),
            (Method::DELETE, "/health", Found::MethodNotAllowed),
            (Method::GET, "/nowhere", Found::Nothing),
            (Method::PUT, "/nowhere", Found::Nothing),
            (Method::GET, "/pins/ipfs/Qm1", Found::Nothing),
        ];
        for (method, path, found) in expected {
            assert_eq!(find(&method, path), found, "{method} {path}");
        }
    }
}
