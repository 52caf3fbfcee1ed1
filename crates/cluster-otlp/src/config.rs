//! Section `observations.tracing`.

use cluster_component::config::{ComponentConfig, ConfigError, Section};
use http::Uri;
use serde::{Deserialize, Serialize};

/// Where collectors listen for OTLP over HTTP, on the same machine.
const ENDPOINT: &str = "http://127.0.0.1:4318";

/// Whether traces are sent, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TracingConfig {
    /// Whether they are sent. Default `false`.
    #[serde(default)]
    pub enable_tracing: bool,
    /// Where the reference sends them. Read and checked for compatibility; nothing is sent there. It must be given in a file
    /// that has the section without `otlp_endpoint`.
    #[serde(default)]
    pub jaeger_agent_endpoint: String,
    /// Which part of the traces is kept, from 0 to 1; more is all. The same traces are kept at all peers with the same part.
    /// Default 0.3; 0 in a file that does not say.
    #[serde(default)]
    pub sampling_prob: f64,
    /// The first part of the service's name in traces; the peer's name follows. Default `cluster-daemon`.
    #[serde(default)]
    pub service_name: String,
    /// Where the collector is: a URL without the path `/v1/traces`. Default `http://127.0.0.1:4318`.
    #[serde(skip_serializing_if = "is_default_endpoint")]
    pub otlp_endpoint: String,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            enable_tracing: false,
            jaeger_agent_endpoint: "/ip4/0.0.0.0/udp/6831".into(),
            sampling_prob: 0.3,
            service_name: "cluster-daemon".into(),
            otlp_endpoint: ENDPOINT.into(),
        }
    }
}

fn is_default_endpoint(endpoint: &str) -> bool {
    endpoint == ENDPOINT
}

impl TracingConfig {
    /// Where traces are sent.
    pub(crate) fn url(&self) -> String {
        format!("{}/v1/traces", self.otlp_endpoint.trim_end_matches('/'))
    }

    fn check_endpoint(&self) -> Result<(), ConfigError> {
        let parsed: Result<Uri, _> = self.url().parse();
        let right = parsed.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if right {
            return Ok(());
        }
        let text = format!("tracing.otlp_endpoint: \"{}\" is no URL such as {ENDPOINT}", self.otlp_endpoint);
        Err(ConfigError::new("tracing.otlp_endpoint", text))
    }
}

impl ComponentConfig for TracingConfig {
    const SECTION: Section = Section::Observations;
    const KEY: &'static str = "tracing";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("otlp_endpoint", "\"http://127.0.0.1:4318\"")];

    fn validate(&self) -> Result<(), ConfigError> {
        self.check_endpoint()?;
        if !self.jaeger_agent_endpoint.is_empty() || is_default_endpoint(&self.otlp_endpoint) {
            cluster_types::address::parse(&self.jaeger_agent_endpoint).map_err(|error| {
                let text = format!("loadTracingOptions: JaegerAgentEndpoint multiaddr: {error}");
                ConfigError::new("tracing.jaeger_agent_endpoint", text)
            })?;
        }
        if self.enable_tracing && self.sampling_prob < 0.0 {
            return Err(ConfigError::new("tracing.sampling_prob", "tracing.sampling_prob is invalid"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_reference_may_be_left_out_for_ours() {
        let ours = TracingConfig {
            jaeger_agent_endpoint: String::new(),
            otlp_endpoint: "https://collector.example:4318/base/".into(),
            ..TracingConfig::default()
        };
        assert_eq!(ours.validate(), Ok(()));
        assert_eq!(ours.url(), "https://collector.example:4318/base/v1/traces");
        let neither = TracingConfig { jaeger_agent_endpoint: String::new(), ..TracingConfig::default() };
        let error = neither.validate().expect_err("refused");
        assert!(error.message.starts_with("loadTracingOptions: JaegerAgentEndpoint multiaddr: "), "{}", error.message);
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_refused() {
        for wrong in ["", "127.0.0.1:4318", "/ip4/127.0.0.1/tcp/4318", "ftp://x"] {
            let config = TracingConfig { otlp_endpoint: wrong.into(), ..TracingConfig::default() };
            assert!(config.validate().expect_err(wrong).message.contains("is no URL such as"), "{wrong}");
        }
    }

    #[test]
    fn a_negative_part_is_refused_when_it_matters() {
        let config = TracingConfig { sampling_prob: -1.0, ..TracingConfig::default() };
        assert_eq!(config.validate(), Ok(()));
        assert!(TracingConfig { enable_tracing: true, ..config }.validate().is_err());
    }
}
