//! Why dials fail, in words for an operator.

use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::swarm::DialError;
use std::error::Error;
use std::io;

/// Addresses that are told of when all have failed.
const TOLD_MAX: usize = 8;

/// Why a dial failed.
#[must_use]
pub fn dial_reason(error: &DialError) -> String {
    match error {
        DialError::NoAddresses => "it is not known where it is".into(),
        DialError::LocalPeerId { .. } => "it is this peer".into(),
        DialError::WrongPeerId { obtained, .. } => format!("another peer answers there: {obtained}"),
        DialError::Aborted => "the dial was aborted".into(),
        DialError::DialPeerConditionFalse(_) => "it is being dialed".into(),
        DialError::Denied { cause } => format!("refused here: {}", crate::root_cause(cause)),
        DialError::Transport(tried) => {
            let told: Vec<String> = tried.iter().take(TOLD_MAX).map(one_address).collect();
            format!("all dials failed: {}", told.join("; "))
        }
    }
}

fn one_address((address, error): &(Multiaddr, TransportError<io::Error>)) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => format!("[{address}] there is no transport for it"),
        TransportError::Other(error) => format!("[{address}] {}", crate::root_cause(error)),
    }
}

/// Whether the other side has another secret, or hung up as if it had.
#[must_use]
pub fn is_stranger(error: &DialError) -> bool {
    let DialError::Transport(tried) = error else { return false };
    tried.iter().any(|(_, error)| match error {
        TransportError::Other(error) => {
            let error: &(dyn Error + 'static) = error;
            crate::is_wrong_secret(error) || crate::is_hung_up(error)
        }
        TransportError::MultiaddrNotSupported(_) => false,
    })
}
