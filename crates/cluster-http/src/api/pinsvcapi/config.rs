//! Section `api.pinsvcapi`.

use crate::api::door::config::{ApiConfig, Kind};

/// The Pinning Service API's section. It listens on port 9097 by default.
pub type PinSvcApiConfig = ApiConfig<PinSvc>;

/// The Pinning Service API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinSvc;

impl Kind for PinSvc {
    const KEY: &'static str = "pinsvcapi";
    const LISTEN: &'static str = "/ip4/127.0.0.1/tcp/9097";
}
