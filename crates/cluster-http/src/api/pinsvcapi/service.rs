//! The routes of the API behind its door.

use super::answer::{self, Answer};
use super::config::PinSvcApiConfig;
use super::{list, pins};
use crate::api::door::front::{Asked, Door, HttpApi, Site};
use crate::api::door::table::{
    self, Found,
    Part::{Any, Is},
    Row,
};
use crate::server::RequestBody;
use async_trait::async_trait;
use cluster_component::errors::StartError;
use cluster_component::metrics::Metrics;
use cluster_component::ports::Clock;
use cluster_component::rpc::Rpc;
use http::{Method, StatusCode};
use std::path::Path;
use std::sync::Arc;

/// The routes, as the reference names its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    ListPins,
    AddPin,
    GetPin,
    ReplacePin,
    RemovePin,
    Token,
    Health,
}

/// In the order in which the reference looks at them: it decides between 404 and 405.
const ROUTES: &[Row<Route>] = &[
    (Method::GET, &[Is("pins")], Route::ListPins),
    (Method::POST, &[Is("pins")], Route::AddPin),
    (Method::GET, &[Is("pins"), Any], Route::GetPin),
    (Method::POST, &[Is("pins"), Any], Route::ReplacePin),
    (Method::DELETE, &[Is("pins"), Any], Route::RemovePin),
    (Method::POST, &[Is("token")], Route::Token),
    (Method::GET, &[Is("health")], Route::Health),
];

/// What answers requests.
struct PinningService {
    rpc: Rpc,
}

/// Binds the listeners; `folder` is where relative paths of the configuration begin.
///
/// # Errors
/// When an address cannot be listened on, a header makes no sense, or the access log cannot be written.
pub async fn bind(
    config: &PinSvcApiConfig,
    folder: &Path,
    rpc: Rpc,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<HttpApi, StartError> {
    HttpApi::bind(config, folder, PinningService { rpc }, clock, metrics).await
}

#[async_trait]
impl Site for PinningService {
    fn route_name(&self, method: &Method, path: &str) -> &'static str {
        match table::find(ROUTES, method, path) {
            Found::Route(Route::ListPins, _) => "ListPins",
            Found::Route(Route::AddPin, _) => "AddPin",
            Found::Route(Route::GetPin, _) => "GetPin",
            Found::Route(Route::ReplacePin, _) => "ReplacePin",
            Found::Route(Route::RemovePin, _) => "RemovePin",
            Found::Route(Route::Token, _) => "Token",
            Found::Route(Route::Health, _) => "Health",
            Found::Nothing | Found::MethodNotAllowed => "none",
        }
    }

    fn refusal(&self, status: StatusCode, text: &str) -> Answer {
        answer::error(status, text)
    }

    async fn answer(&self, door: &Door, path: &str, asked: Asked, body: RequestBody) -> Answer {
        match table::find(ROUTES, &asked.method, path) {
            Found::Nothing => answer::error(StatusCode::NOT_FOUND, "not found"),
            Found::MethodNotAllowed => answer::bare(StatusCode::METHOD_NOT_ALLOWED),
            Found::Route(Route::ListPins, _) => list::list(&self.rpc, &asked.query).await,
            Found::Route(Route::AddPin, _) => pins::add(&self.rpc, body).await,
            Found::Route(Route::GetPin, id) => pins::get(&self.rpc, id).await,
            Found::Route(Route::ReplacePin, id) => pins::replace(&self.rpc, id, body).await,
            Found::Route(Route::RemovePin, id) => pins::remove(&self.rpc, id).await,
            Found::Route(Route::Token, _) => token(door, &asked),
            Found::Route(Route::Health, _) => answer::no_content(),
        }
    }

    fn tell_listening(&self, how: &str, address: &dyn std::fmt::Display) {
        tracing::info!(target: "pinsvcapi", "PINSVCAPI ({how}): {address}");
    }
}

/// A token for whoever asks, or that there is nobody to make one for.
fn token(door: &Door, asked: &Asked) -> Answer {
    match door.token(asked.user.as_deref()) {
        Some(token) => answer::object(StatusCode::OK, &serde_json::json!({ "token": token })),
        None => answer::error(StatusCode::UNAUTHORIZED, "unauthorized"),
    }
}
