//! What HTTP servers have in common: where they listen, how long they wait, how much they take, what they log.

mod access_log;
mod body;
mod connection;
mod journal;
mod listener;
mod streams;
mod tls;

pub use access_log::{AccessLog, AccessLogError};
pub use body::{Aborted, ResponseBody, buffered, empty, lines};
pub(crate) use body::{BodyError, Ending, RequestBody, chunked, takes_trailers};
pub(crate) use connection::{Handler, STALL};
pub use connection::{Limits, serve, serve_tls};
pub(crate) use journal::Journal;
pub use listener::{BoundListener, ListenError, Listeners};
pub use streams::{PROTOCOL as STREAMS_PROTOCOL, Streams};
pub use tls::{Tls, TlsError};
