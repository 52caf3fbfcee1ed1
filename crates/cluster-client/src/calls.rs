//! The calls, by route.

use crate::client::{Ask, Client, no_body};
use crate::error::ClientError;
use crate::stream::Values;
use crate::upload::Upload;
use cluster_types::{
    AddParams, Added, Alert, BandwidthByProtocol, Cid, ConnectGraph, Explanation, GlobalPinInfo, GlobalRepoGc, Metric,
    PeerId, PeerInfo, Pin, PinOptions, StateDigest, Version, pin_query,
};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What goes out as it is within a query's value.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What goes out as it is within a path.
const PATH: &AsciiSet = &QUERY.remove(b'/').remove(b':');

fn escape(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

impl Client {
    async fn list<T: DeserializeOwned + Send + 'static>(&self, ask: Ask) -> Result<Values<T>, ClientError> {
        self.stream(ask, &|| Box::pin(async { Ok(no_body()) })).await
    }

    /// What the peer says of itself.
    ///
    /// # Errors
    /// As [`ClientError`] says; so do all calls.
    pub async fn id(&self) -> Result<PeerInfo, ClientError> {
        self.object(Ask::get("/id")).await
    }

    /// The peer's version.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.object(Ask::get("/version")).await
    }

    /// Whether the peer answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn health(&self) -> Result<(), ClientError> {
        self.call::<serde::de::IgnoredAny>(Ask::get("/health")).await.map(drop)
    }

    /// What every member says of itself.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn peers(&self) -> Result<Values<PeerInfo>, ClientError> {
        self.list(Ask::get("/peers")).await
    }

    /// Has a peer taken in; returns what it says of itself.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn peer_add(&self, peer: &PeerId) -> Result<PeerInfo, ClientError> {
        let body = serde_json::json!({ "peer_id": peer.to_string() }).to_string();
        let content_type = Some("application/json".into());
        self.object(Ask { content_type, body: body.into(), ..Ask::post("/peers") }).await
    }

    /// Has a peer put out, its pins moved to others.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn peer_rm(&self, peer: &PeerId) -> Result<(), ClientError> {
        self.call::<serde::de::IgnoredAny>(Ask::new(Method::DELETE, format!("/peers/{peer}"))).await.map(drop)
    }

    /// Who is connected to whom.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn connect_graph(&self) -> Result<ConnectGraph, ClientError> {
        self.object(Ask::get("/health/graph")).await
    }

    /// Traffic of the peer, by protocol.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn bandwidth(&self) -> Result<BandwidthByProtocol, ClientError> {
        let traffic: Option<BandwidthByProtocol> = self.object(Ask::get("/health/bandwidth")).await?;
        Ok(traffic.unwrap_or_default())
    }

    /// Pins a CID.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn pin(&self, cid: &Cid, options: &PinOptions) -> Result<Pin, ClientError> {
        self.object(Ask::post(format!("/pins/{cid}?{}", pin_query::options_to_query(options)))).await
    }

    /// Pins what a path such as `/ipfs/<cid>/a` leads to.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn pin_path(&self, path: &str, options: &PinOptions) -> Result<Pin, ClientError> {
        let path = utf8_percent_encode(path, PATH);
        self.object(Ask::post(format!("/pins{path}?{}", pin_query::options_to_query(options)))).await
    }

    /// Unpins a CID; returns the pin as it was.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn unpin(&self, cid: &Cid) -> Result<Pin, ClientError> {
        self.object(Ask::new(Method::DELETE, format!("/pins/{cid}"))).await
    }

    /// Unpins what a path leads to.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn unpin_path(&self, path: &str) -> Result<Pin, ClientError> {
        self.object(Ask::new(Method::DELETE, format!("/pins{}", utf8_percent_encode(path, PATH)))).await
    }

    /// A pin as it is stored.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn allocation(&self, cid: &Cid) -> Result<Pin, ClientError> {
        self.object(Ask::get(format!("/allocations/{cid}"))).await
    }

    /// All pins of these types: names separated by commas; empty: all.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn allocations(&self, filter: &str) -> Result<Values<Pin>, ClientError> {
        self.list(Ask::get(format!("/allocations?filter={}", escape(filter)))).await
    }

    /// How one item stands, at all peers or at the one asked.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn status(&self, cid: &Cid, local: bool) -> Result<GlobalPinInfo, ClientError> {
        self.object(Ask::get(format!("/pins/{cid}?local={local}"))).await
    }

    /// How items stand: those listed, or without any those that pass the filter (names of states separated by
    /// commas; empty: all).
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn status_all(
        &self,
        filter: &str,
        cids: &[Cid],
        local: bool,
    ) -> Result<Values<GlobalPinInfo>, ClientError> {
        let cids: Vec<String> = cids.iter().map(ToString::to_string).collect();
        let (filter, cids) = (escape(filter), escape(&cids.join(",")));
        self.list(Ask::get(format!("/pins?local={local}&filter={filter}&cids={cids}"))).await
    }

    /// Tries again what failed of one item.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn recover(&self, cid: &Cid, local: bool) -> Result<GlobalPinInfo, ClientError> {
        self.object(Ask::post(format!("/pins/{cid}/recover?local={local}"))).await
    }

    /// Tries again everything that failed; tells what was queued.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn recover_all(&self, local: bool) -> Result<Values<GlobalPinInfo>, ClientError> {
        self.list(Ask::post(format!("/pins/recover?local={local}"))).await
    }

    /// Collects garbage.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn repo_gc(&self, local: bool) -> Result<GlobalRepoGc, ClientError> {
        self.object(Ask::post(format!("/ipfs/gc?local={local}"))).await
    }

    /// The names of all metrics.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn metric_names(&self) -> Result<Vec<String>, ClientError> {
        self.object(Ask::get("/monitor/metrics")).await
    }

    /// The valid metrics of a name.
    ///
    /// # Errors
    /// As [`ClientError`] says, and for an empty name.
    pub async fn metrics(&self, name: &str) -> Result<Vec<Metric>, ClientError> {
        if name.is_empty() {
            return Err(ClientError::Local("bad metric name".into()));
        }
        self.object(Ask::get(format!("/monitor/metrics/{}", utf8_percent_encode(name, PATH)))).await
    }

    /// How an item stands, why, and what to do.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn explain(&self, cid: &Cid) -> Result<Explanation, ClientError> {
        self.object(Ask::get(format!("/pins/{cid}/explain"))).await
    }

    /// What stands for the peer's whole pinset.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn state_digest(&self) -> Result<StateDigest, ClientError> {
        self.object(Ask::get("/state/digest")).await
    }

    /// What was noticed of failing peers.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn alerts(&self) -> Result<Vec<Alert>, ClientError> {
        self.object(Ask::get("/health/alerts")).await
    }

    /// Adds content. The stream tells what is done; only its end without an error means that it is pinned.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn add(&self, upload: Upload, params: &AddParams) -> Result<Values<Added>, ClientError> {
        let params = AddParams { stream_channels: true, ..params.clone() };
        let mut ask = Ask::post(format!("/add?{}", pin_query::add_params_to_query(&params)));
        ask.content_type = Some(upload.content_type());
        let upload = Arc::new(upload);
        self.stream(ask, &|| {
            let upload = Arc::clone(&upload);
            Box::pin(async move { upload.body() })
        })
        .await
    }
}
