//! Noise and TLS, offered together.

use futures::future::BoxFuture;
use futures::io::{AsyncRead, AsyncWrite};
use futures::{FutureExt, TryFutureExt};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::{PeerId, noise, tls};
use libp2p_identity::Keypair;
use std::pin::Pin;

/// How connections are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Both are offered; a dialer proposes noise first, as the reference.
    #[default]
    Both,
    /// Noise alone.
    Noise,
    /// TLS 1.3 alone.
    Tls,
}

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// Noise failed.
    #[error("noise: {0}")]
    Noise(#[from] noise::Error),
    /// TLS failed.
    #[error("tls: {0}")]
    Tls(#[from] tls::UpgradeError),
    /// The key does not fit a certificate.
    #[error("no certificate could be made for the key of this peer: {0}")]
    Certificate(#[from] tls::certificate::GenError),
}

impl Security {
    /// The upgrade that does it.
    pub(crate) fn upgrade(self, key: &Keypair) -> Result<Upgrade, SecurityError> {
        Ok(Upgrade {
            noise: (self != Self::Tls).then(|| noise::Config::new(key)).transpose()?,
            tls: (self != Self::Noise).then(|| tls::Config::new(key)).transpose()?,
        })
    }
}

/// One of the two, by the name that was agreed on.
#[derive(Clone)]
pub(crate) struct Upgrade {
    noise: Option<noise::Config>,
    tls: Option<tls::Config>,
}

/// Bytes that nobody else can read or change.
pub(crate) type Secured = Pin<Box<dyn Stream>>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A protocol that is offered.
#[derive(Clone)]
pub(crate) enum Offer {
    Noise(noise::Config),
    Tls(tls::Config),
}

impl AsRef<str> for Offer {
    fn as_ref(&self) -> &str {
        match self {
            Self::Noise(_) => "/noise",
            Self::Tls(_) => "/tls/1.0.0",
        }
    }
}

impl UpgradeInfo for Upgrade {
    type Info = Offer;
    type InfoIter = Vec<Offer>;

    fn protocol_info(&self) -> Vec<Offer> {
        let noise = self.noise.clone().map(Offer::Noise);
        noise.into_iter().chain(self.tls.clone().map(Offer::Tls)).collect()
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<S> for Upgrade {
    type Output = (PeerId, Secured);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, SecurityError>>;

    fn upgrade_inbound(self, socket: S, offer: Offer) -> Self::Future {
        match offer {
            Offer::Noise(noise) => secured(noise.upgrade_inbound(socket, "/noise")).boxed(),
            Offer::Tls(tls) => secured(tls.upgrade_inbound(socket, "/tls/1.0.0")).boxed(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<S> for Upgrade {
    type Output = (PeerId, Secured);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, SecurityError>>;

    fn upgrade_outbound(self, socket: S, offer: Offer) -> Self::Future {
        match offer {
            Offer::Noise(noise) => secured(noise.upgrade_outbound(socket, "/noise")).boxed(),
            Offer::Tls(tls) => secured(tls.upgrade_outbound(socket, "/tls/1.0.0")).boxed(),
        }
    }
}

async fn secured<S: Stream + 'static, E: Into<SecurityError>>(
    upgrade: impl Future<Output = Result<(PeerId, S), E>>,
) -> Result<(PeerId, Secured), SecurityError> {
    let (peer, stream) = upgrade.map_err(Into::into).await?;
    Ok((peer, Box::pin(stream)))
}
