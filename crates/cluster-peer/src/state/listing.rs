//! Listing any state, page by page.

use cluster_component::component::StateRead;
use cluster_component::errors::StateError;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_types::{Cid, Pin};
use futures::StreamExt;
use std::sync::Arc;

/// All pins in the listing order.
pub(super) fn list<S: StateRead>(state: Arc<S>) -> PageStream<Pin, StateError> {
    futures::stream::unfold((state, Some(None::<Cid>)), |(state, position)| async move {
        let after = position?;
        match state.page(after.as_ref(), PAGE_MAX) {
            Ok(pins) if pins.is_empty() => None,
            Ok(pins) => {
                let next = if pins.len() < PAGE_MAX { None } else { pins.last().map(|pin| Some(pin.cid)) };
                Some((Ok(pins), (state, next)))
            }
            Err(error) => Some((Err(error), (state, None))),
        }
    })
    .boxed()
}
