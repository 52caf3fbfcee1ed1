//! Composition root: from a configuration folder to a running peer.
//!
//! The only crate that names every implementation. Reading order: [`folder`] (what lies where), [`identity`],
//! [`config`] (all sections together), [`choice`] (which implementation they choose), [`source`] (a configuration that
//! is elsewhere), [`inspect`] (what is wrong with one), [`wiring`] (which implementation, made of what),
//! [`state`] (the pinset of a peer that is not running; `import` checks and sorts what it takes in), [`repository`] (the embedded node's
//! blocks and pins, likewise), [`ports`] (clock, tasks and chance of a
//! real process), [`run`] (until a signal says otherwise), [`logging`].

pub mod choice;
pub mod config;
pub mod folder;
pub mod identity;
mod import;
pub mod inspect;
pub mod logging;
mod metered;
mod network;
pub mod ports;
pub mod probe;
pub mod repository;
pub mod run;
pub mod source;
pub mod state;
pub mod wiring;

pub use cluster_http::api::restapi::openapi::text as openapi;
pub use cluster_peer::cluster::VERSION;

/// Whether a Kubo answers at its default address on this machine. Waits for the answer: not for async threads.
///
/// # Errors
/// When the operating system gives no runtime to ask with.
pub fn kubo_answers() -> std::io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(cluster_ipfs::kubo_answers(std::sync::Arc::new(ports::SystemClock::new()))))
}
