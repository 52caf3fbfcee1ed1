//! What a peer is made of, and nothing about how: the interfaces of its components, the ports through which it
//! reaches the outside world, the table of what peers may ask of each other, and the frame of the configuration.
//!
//! Reading order: [`component`] (who does what), [`ports`] (network, clock, chance), [`rpc`] (the table and its
//! client), [`content`] (reading files), [`config`] (sections and their manager), [`tasks`] (how work is started and
//! awaited), [`metrics`] (what is counted), [`trace`] (what is told of single pins and requests), [`errors`].
//!
//! There is no implementation of a component here: those are the crates beside each other one layer up.

pub mod component;
pub mod config;
pub mod content;
pub mod errors;
pub mod metrics;
pub mod ports;
pub mod rpc;
pub mod tasks;
pub mod trace;

use futures::stream::BoxStream;

/// A stream of pages: each item is one or more values, in order, so that long lists cost little per value.
///
/// It ends after the first error. An empty page is never sent.
pub type PageStream<T, E> = BoxStream<'static, Result<Vec<T>, E>>;

/// Most values in one page of a [`PageStream`].
pub const PAGE_MAX: usize = 256;
