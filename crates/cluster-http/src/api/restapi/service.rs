//! The routes of the API behind its door.

use super::answer::{self, Answer};
use super::config::RestApiConfig;
use super::route::{self, Found, Route};
use super::{add, openapi, peers, pins};
pub(super) use crate::api::door::front::Asked;
use crate::api::door::front::{Door, HttpApi, Site};
use crate::server::RequestBody;
use async_trait::async_trait;
use cluster_component::component::Adder;
use cluster_component::errors::StartError;
use cluster_component::metrics::Metrics;
use cluster_component::ports::Clock;
use cluster_component::rpc::Rpc;
use http::{Method, StatusCode};
use std::path::Path;
use std::sync::Arc;

/// What answers requests.
pub(super) struct Front {
    pub(super) rpc: Rpc,
    pub(super) adder: Arc<dyn Adder>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Binds the REST API's listeners; `folder` is where relative paths of the configuration begin.
///
/// # Errors
/// When an address cannot be listened on, a header makes no sense, or the access log cannot be written.
pub async fn bind(
    config: &RestApiConfig,
    folder: &Path,
    rpc: Rpc,
    adder: Arc<dyn Adder>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<HttpApi, StartError> {
    let site = Front { rpc, adder, clock: Arc::clone(&clock) };
    HttpApi::bind(config, folder, site, clock, metrics).await
}

#[async_trait]
impl Site for Front {
    fn route_name(&self, method: &Method, path: &str) -> &'static str {
        route::name(method, path)
    }

    fn refusal(&self, status: StatusCode, text: &str) -> Answer {
        answer::error(status, text)
    }

    async fn answer(&self, door: &Door, path: &str, asked: Asked, body: RequestBody) -> Answer {
        match route::find(&asked.method, path) {
            Found::Nothing => answer::error(StatusCode::NOT_FOUND, "not found"),
            Found::MethodNotAllowed => answer::bare(StatusCode::METHOD_NOT_ALLOWED),
            Found::Route(route, argument) => self.dispatch(door, route, argument, asked, body).await,
        }
    }

    fn tell_listening(&self, how: &str, address: &dyn std::fmt::Display) {
        tracing::info!(target: "restapi", "RESTAPI ({how}): {address}");
    }
}

/// A token for whoever asks, or that there is nobody to make one for, as the reference says it.
fn token(door: &Door, asked: &Asked) -> Answer {
    match door.token(asked.user.as_deref()) {
        Some(token) => answer::object(Ok(serde_json::json!({ "token": token }))),
        None => answer::error(StatusCode::UNAUTHORIZED, "unauthorized"),
    }
}

impl Front {
    async fn dispatch(&self, door: &Door, route: Route, argument: &str, asked: Asked, body: RequestBody) -> Answer {
        match route {
            Route::Id => peers::id(self).await,
            Route::Version => peers::version(self).await,
            Route::Peers => peers::list(self, &asked).await,
            Route::PeerAdd => peers::add(self, body).await,
            Route::PeerRemove => peers::remove(self, argument).await,
            Route::Graph => peers::graph(self, &asked).await,
            Route::Bandwidth => peers::bandwidth(self).await,
            Route::Alerts => peers::alerts(self).await,
            Route::Metrics => peers::metrics(self, argument).await,
            Route::MetricNames => peers::metric_names(self).await,
            Route::Health => answer::no_content(),
            Route::OpenApi => answer::object(Ok(openapi::document())),
            Route::Explain => pins::explain(self, argument).await,
            Route::StateDigest => peers::state_digest(self).await,
            Route::Token => token(door, &asked),
            Route::RepoGc => peers::repo_gc(self, &asked).await,
            Route::Allocations => pins::allocations(self, &asked).await,
            Route::Allocation => pins::allocation(self, argument).await,
            Route::StatusAll => pins::status_all(self, &asked).await,
            Route::Status => pins::status(self, argument, &asked).await,
            Route::Recover => pins::recover(self, argument, &asked).await,
            Route::RecoverAll => pins::recover_all(self, &asked).await,
            Route::Pin => pins::pin(self, argument, &asked).await,
            Route::PinPath => pins::pin_path(self, argument, &asked).await,
            Route::Unpin => pins::unpin(self, argument).await,
            Route::UnpinPath => pins::unpin_path(self, argument).await,
            Route::Add => add::add(self, asked, body).await,
        }
    }
}
