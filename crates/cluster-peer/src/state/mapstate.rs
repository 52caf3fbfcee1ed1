//! State `mapstate`: every pin in memory, as the consensus made it anew from its log and snapshot. Nothing is on disk.

use super::listing;
use bytes::Bytes;
use cluster_component::component::{PinsetChange, State, StateRead, VisitPin};
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::errors::StateError;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_core::pinset::digest;
use cluster_types::{Cid, Pin, PinsetDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Section `state.mapstate`: it has no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MapStateConfig {}

impl ComponentConfig for MapStateConfig {
    const SECTION: Section = Section::State;
    const KEY: &'static str = "mapstate";

    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// The pinset in memory: stored forms by sort key.
#[derive(Debug, Default)]
pub struct MapState {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Shared with running scans, which therefore see one moment; a write during a scan copies the map of pointers.
    pins: Arc<BTreeMap<Vec<u8>, Bytes>>,
    digest: PinsetDigest,
    mark: Option<Bytes>,
}

impl MapState {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pin(cid: Cid, stored: &[u8]) -> Result<Pin, StateError> {
    Pin::from_proto(stored, Some(cid)).map_err(|e| damaged(cid.to_string(), e))
}

fn damaged(cid: String, reason: impl ToString) -> StateError {
    StateError::Damaged { cid, reason: reason.to_string() }
}

impl StateRead for MapState {
    fn get(&self, cid: &Cid) -> Result<Option<Pin>, StateError> {
        let stored = self.read().pins.get(&cid.sort_key()).cloned();
        stored.map(|stored| pin(*cid, &stored)).transpose()
    }

    fn contains(&self, cid: &Cid) -> Result<bool, StateError> {
        Ok(self.read().pins.contains_key(&cid.sort_key()))
    }

    fn page(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<Pin>, StateError> {
        let key = after.map(Cid::sort_key);
        let from = key.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let inner = self.read();
        let mut pins = Vec::with_capacity(limit.min(PAGE_MAX));
        for (key, stored) in inner.pins.range::<[u8], _>((from, Bound::Unbounded)).take(limit) {
            let cid = Cid::from_sort_key(key).map_err(|e| damaged(hex::encode(key), e))?;
            pins.push(pin(cid, stored)?);
        }
        Ok(pins)
    }

    fn list(self: Arc<Self>) -> PageStream<Pin, StateError> {
        listing::list(self)
    }

    fn len(&self) -> Result<u64, StateError> {
        Ok(self.read().pins.len() as u64)
    }

    fn digest(&self) -> Result<PinsetDigest, StateError> {
        Ok(self.read().digest)
    }
}

impl State for MapState {
    fn apply(&self, changes: &[PinsetChange], mark: Bytes) -> Result<(), StateError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = inner.digest;
        let pins = Arc::make_mut(&mut inner.pins);
        for change in changes {
            let (key, after) = match change {
                PinsetChange::Pinned(pin) => (pin.cid.sort_key(), Some(Bytes::from(pin.to_proto()))),
                PinsetChange::Unpinned(cid) => (cid.sort_key(), None),
                PinsetChange::Resync => continue,
            };
            let before = match &after {
                Some(stored) => pins.insert(key.clone(), stored.clone()),
                None => pins.remove(&key),
            };
            changed = changed.and(digest::change(&key, before.as_deref(), after.as_deref()));
        }
        inner.digest = changed;
        inner.mark = Some(mark);
        Ok(())
    }

    fn mark(&self) -> Result<Option<Bytes>, StateError> {
        Ok(self.read().mark.clone())
    }

    fn replace(
        &self,
        pins: &mut dyn Iterator<Item = Result<Pin, StateError>>,
        mark: Option<Bytes>,
    ) -> Result<(), StateError> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).mark = None;
        let stored = pins.map(|pin| pin.map(|pin| (pin.cid.sort_key(), Bytes::from(pin.to_proto()))));
        let pins = stored.collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut digest = PinsetDigest::default();
        pins.iter().for_each(|(key, stored)| digest.add(&digest::of_pin(key, stored)));
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner { pins: Arc::new(pins), digest, mark };
        Ok(())
    }

    fn freeze(&self, visit: &mut VisitPin<'_>) -> Result<Option<Bytes>, StateError> {
        let (pins, mark) = {
            let inner = self.read();
            (Arc::clone(&inner.pins), inner.mark.clone())
        };
        for (key, stored) in pins.iter() {
            let cid = Cid::from_sort_key(key).map_err(|e| damaged(hex::encode(key), e))?;
            visit(&cid, stored)?;
        }
        Ok(mark)
    }
}
