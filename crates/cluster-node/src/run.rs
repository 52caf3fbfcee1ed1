//! Running a peer until a signal, or the peer itself, says otherwise.

use crate::wiring::{Ended, Node, NotJoined};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why a run did not end in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot be a member of the cluster that it was told to join, since.
    #[error("{0}")]
    NotTakenIn(String),
    /// The pinset cannot be used, since.
    #[error("{0}")]
    Unusable(String),
    /// A third signal came before the peer had stopped.
    #[error("exiting cluster NOW")]
    Impatience,
}

/// Joins whom it was told to join, and returns once the peer has stopped: at a signal, when it was put out of its
/// cluster (its state is removed then), or when it cannot go on.
///
/// # Errors
/// As [`Trouble`] says.
pub async fn until_it_ends(node: Node, signals: &mut Signals) -> Result<(), Trouble> {
    let not_taken_in = Mutex::new(None);
    let ended = {
        let joining = async {
            let Err(error) = node.join().await else { return std::future::pending().await };
            if let NotJoined::OtherConsensus(reason) = error {
                return reason;
            }
            // Somebody else may take it in yet.
            *not_taken_in.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            std::future::pending().await
        };
        // Order: a signal is an order; a peer that ends by itself next.
        tokio::select! {
            biased;
            () = signals.next() => None,
            ended = node.ended() => Some(ended),
            reason = joining => {
                tracing::info!("shutting down");
                stop(node.stop(), signals).await?;
                return Err(Trouble::NotTakenIn(reason));
            }
        }
    };
    tracing::info!("shutting down");
    let why_not = not_taken_in.into_inner().unwrap_or_else(PoisonError::into_inner);
    match ended {
        Some(Ended::Failed(reason)) if why_not.is_some() => {
            stop(node.stop(), signals).await?;
            Err(Trouble::Unusable(format!("{reason}. {}", why_not.map(|why| why.to_string()).unwrap_or_default())))
        }
        None => stop(node.stop(), signals).await,
        Some(Ended::Removed) => stop(node.stop_and_clean(), signals).await,
        Some(Ended::Failed(reason)) => {
            stop(node.stop(), signals).await?;
            Err(Trouble::Unusable(reason))
        }
    }
}

/// An orderly stop. The second signal warns, the third ends the process at once.
async fn stop(stopped: impl Future<Output = ()>, signals: &mut Signals) -> Result<(), Trouble> {
    tokio::pin!(stopped);
    let mut warned = false;
    loop {
        // Order: a finished stop before another signal.
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            () = signals.next() => {
                if warned {
                    return Err(Trouble::Impatience);
                }
                warned = true;
                let bar = "!".repeat(73);
                eprintln!("\n\n{bar}\nShutdown is taking too long! Press Ctrl-c again to manually kill cluster.");
                eprintln!("Note that this may corrupt the local cluster state.\n{bar}\n");
            }
        }
    }
}

/// The three signals that stop a peer, taken together.
#[derive(Debug)]
pub struct Signals([Signal; 3]);

impl Signals {
    /// From now on they no longer end the process.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn new() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Returns when one of them has come.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        // Order does not matter: all three mean the same.
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
