//! Section `api.restapi`.

use crate::api::door::config::{ApiConfig, Kind};

/// The REST API's section. It listens on port 9094 by default.
pub type RestApiConfig = ApiConfig<Rest>;

/// The REST API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest;

impl Kind for Rest {
    const KEY: &'static str = "restapi";
    const LISTEN: &'static str = "/ip4/127.0.0.1/tcp/9094";
}
