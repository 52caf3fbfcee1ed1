//! Who was put out of the cluster, and who was taken in again.
//!
//! Members are those whose metric is heard, so a peer can be put out only if every peer remembers it: each keeps notes,
//! one for each peer that was ever put out, the later of two counts, and tells them to the others. Peers of the
//! reference neither hear nor keep them.

use bytes::Bytes;
use cluster_component::ports::{PubSub, Topic};
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use cluster_types::{PeerId, Timestamp};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Notes that are kept: the latest. A cluster that puts out more of its peers forgets the earliest.
const NOTES_MAX: usize = 1_000;

const PREFIX: &[u8] = b"m";

/// What is known of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    /// Nanoseconds since 1970, by the clock of the peer that made the note.
    at: i64,
    removed: bool,
}

/// A message or a stored note makes no sense, or the store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotesError {
    #[error("a note on a member is cut or too long")]
    Malformed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The notes.
pub(crate) struct Notes {
    store: Arc<dyn Datastore>,
    notes: Mutex<BTreeMap<PeerId, Note>>,
}

impl Notes {
    pub(crate) fn new(store: Arc<dyn Datastore>) -> Self {
        Self { store, notes: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, BTreeMap<PeerId, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what the store has.
    pub(crate) fn load(&self) -> Result<(), StoreError> {
        let mut notes = BTreeMap::new();
        self.store.scan_prefix(Table::CrdtMeta, PREFIX, &mut |_, value| {
            notes.extend(decode(value).unwrap_or_default());
            ControlFlow::Continue(())
        })?;
        *self.notes() = notes;
        Ok(())
    }

    pub(crate) fn is_removed(&self, peer: &PeerId) -> bool {
        self.notes().get(peer).is_some_and(|note| note.removed)
    }

    /// Makes a note that counts more than what is there. Tells whether it is news. Durable when this returns.
    pub(crate) fn set(&self, peer: PeerId, removed: bool, now: Timestamp) -> Result<bool, StoreError> {
        let earlier = self.notes().get(&peer).copied();
        if earlier.is_some_and(|note| note.removed == removed) {
            return Ok(false);
        }
        let at = earlier.map_or(now.unix_nanos(), |note| now.unix_nanos().max(note.at.saturating_add(1)));
        self.take(BTreeMap::from([(peer, Note { at, removed })]))?;
        Ok(true)
    }

    /// Takes what another peer says.
    pub(crate) fn hear(&self, message: &[u8]) -> Result<(), NotesError> {
        let heard = decode(message)?;
        Ok(self.take(heard)?)
    }

    fn take(&self, heard: BTreeMap<PeerId, Note>) -> Result<(), StoreError> {
        let mut notes = self.notes();
        let news = heard.into_iter().filter(|(peer, note)| notes.get(peer).is_none_or(|known| known < note));
        let news: BTreeMap<PeerId, Note> = news.collect();
        if news.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        let mut after = notes.clone();
        after.extend(news.iter().map(|(peer, note)| (*peer, *note)));
        while after.len() > NOTES_MAX
            && let Some(oldest) = after.iter().min_by_key(|(_, note)| **note).map(|(peer, _)| *peer)
        {
            after.remove(&oldest);
            batch.delete(Table::CrdtMeta, key(&oldest));
        }
        for (peer, note) in news.iter().filter(|(peer, _)| after.contains_key(peer)) {
            batch.put(Table::CrdtMeta, key(peer), encode([(peer, note)]));
        }
        self.store.write(batch)?;
        self.store.sync()?;
        *notes = after;
        Ok(())
    }

    /// Tells the others, if there is anything to tell. Who does not hear it hears it the next time.
    pub(crate) async fn tell(&self, pubsub: &dyn PubSub, topic: &Topic) {
        let message = encode(self.notes().iter());
        if message.is_empty() {
            return;
        }
        if let Err(error) = pubsub.publish(topic, Bytes::from(message)).await {
            tracing::debug!(%error, "notes on members could not be told; they will be again");
        }
    }
}

fn key(peer: &PeerId) -> Vec<u8> {
    [PREFIX, &peer.to_bytes()].concat()
}

/// Each note: whether the peer was put out (1 byte), when (8 bytes), how long its name is (1 byte), and its name.
fn encode<'a>(notes: impl IntoIterator<Item = (&'a PeerId, &'a Note)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (peer, note) in notes {
        let name = peer.to_bytes();
        let Ok(length) = u8::try_from(name.len()) else { continue };
        out.push(u8::from(note.removed));
        out.extend_from_slice(&note.at.to_be_bytes());
        out.push(length);
        out.extend_from_slice(&name);
    }
    out
}

fn decode(mut bytes: &[u8]) -> Result<BTreeMap<PeerId, Note>, NotesError> {
    let mut notes = BTreeMap::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<10>() {
        let [removed, at @ .., length] = *head;
        let (name, rest) = rest.split_at_checked(usize::from(length)).ok_or(NotesError::Malformed)?;
        let peer = PeerId::from_bytes(name).map_err(|_| NotesError::Malformed)?;
        notes.insert(peer, Note { at: i64::from_be_bytes(at), removed: removed == 1 });
        if notes.len() > NOTES_MAX {
            return Err(NotesError::Malformed);
        }
        bytes = rest;
    }
    if bytes.is_empty() { Ok(notes) } else { Err(NotesError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_datastore::MemoryStore;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix(secs, 0)
    }

    fn notes() -> (Notes, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::new());
        (Notes::new(Arc::clone(&store) as Arc<dyn Datastore>), store)
    }

    #[test]
    fn a_note_survives_a_crash_and_the_later_one_counts() {
        let ((notes, store), peer) = (notes(), PeerId::random());
        assert_eq!(notes.set(peer, true, at(10)), Ok(true));
        assert_eq!(notes.set(peer, true, at(11)), Ok(false));

        let again = Notes::new(Arc::new(store.crash()));
        again.load().expect("read");
        assert!(again.is_removed(&peer));

        // Even by a clock that is behind.
        assert_eq!(again.set(peer, false, at(5)), Ok(true));
        assert!(!again.is_removed(&peer));
    }

    #[test]
    fn peers_that_tell_each_other_come_to_the_same() {
        let ((one, _), (other, _), peer) = (notes(), notes(), PeerId::random());
        one.set(peer, true, at(10)).expect("noted");
        other.set(peer, true, at(8)).expect("noted");
        other.set(peer, false, at(9)).expect("noted");

        let (said, answered) = (encode(one.notes().iter()), encode(other.notes().iter()));
        one.hear(&answered).expect("heard");
        other.hear(&said).expect("heard");

        assert!(one.is_removed(&peer) && other.is_removed(&peer));
        assert_eq!(*one.notes(), *other.notes());
    }

    #[test]
    fn nonsense_is_refused_and_notes_are_bounded() {
        let (notes, _) = notes();
        assert_eq!(notes.hear(&[1; 11]), Err(NotesError::Malformed));
        assert_eq!(notes.hear(&[1; 5]), Err(NotesError::Malformed));

        for number in 0..NOTES_MAX + 5 {
            let at = at(i64::try_from(number).expect("small"));
            notes.set(PeerId::random(), true, at).expect("noted");
        }
        assert_eq!(notes.notes().len(), NOTES_MAX);
    }
}
