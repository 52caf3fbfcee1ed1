//! A client of the REST API, used by the command-line tools and by tests.
//!
//! [`Client`] speaks to one or several peers, over TCP, TLS, unix sockets or libp2p: a request that does not reach the
//! first goes to the next. Answers come as the types of `cluster-types`; long lists come as streams, and what a peer tells
//! behind the last item (the trailer `X-Stream-Error`) is an item of the stream too, so that half a list never looks whole.
//!
//! Reading order: [`host`] (addresses), [`Client`] and its calls, [`upload`] (the body of an add), [`error`].

mod calls;
mod client;
pub mod error;
pub mod host;
mod over_libp2p;
mod stream;
mod transport;
pub mod upload;
mod wait;
mod web;

pub use client::{Client, ClientBuilder};
pub use error::ClientError;
pub use host::Host;
pub use upload::{Entry, EntryKind, Upload};
pub use wait::{WaitError, WaitFor};
