//! What others say of who has what, while we answer in the table: bounded, and the oldest goes first.
//!
//! The library's own store refuses what is new when it is full, our own roots too, and never throws out what is old.
//! Values (names, public keys) are not kept.

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

/// Records that are kept, besides our own: with their addresses about 20 MB.
const RECORDS_MAX: usize = 20_000;

/// Records of one key, as the specification.
const PER_KEY_MAX: usize = 20;

/// Addresses of a record, and bytes of each.
const ADDRESSES_MAX: usize = 8;
const ADDRESS_BYTES_MAX: usize = 128;

/// The records.
pub(super) struct Records {
    me: PeerId,
    records_max: usize,
    by_key: HashMap<RecordKey, Vec<ProviderRecord>>,
    /// The oldest first. A record that is gone or was renewed may still be named.
    ages: VecDeque<(RecordKey, PeerId)>,
    count: usize,
    /// Ours, while others are being told.
    own: HashMap<RecordKey, ProviderRecord>,
}

impl Records {
    pub(super) fn new(me: PeerId) -> Self {
        Self {
            me,
            records_max: RECORDS_MAX,
            by_key: HashMap::new(),
            ages: VecDeque::new(),
            count: 0,
            own: HashMap::new(),
        }
    }

    fn drop_oldest(&mut self) {
        while self.count >= self.records_max {
            let Some((key, provider)) = self.ages.pop_front() else { return };
            self.remove_provider(&key, &provider);
        }
    }

    /// Names of what is gone take no more room than what is there.
    fn forget_gone(&mut self) {
        if self.ages.len() > 2 * self.records_max {
            let by_key = &self.by_key;
            self.ages.retain(|(key, peer)| {
                by_key.get(key).is_some_and(|records| records.iter().any(|record| record.provider == *peer))
            });
        }
    }
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Map<
        std::collections::hash_map::Values<'a, RecordKey, ProviderRecord>,
        fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>,
    >;

    fn get(&self, _key: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _record: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _key: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.provider == self.me {
            self.own.insert(record.key.clone(), record);
            return Ok(());
        }
        record.addresses.retain(|address| address.len() <= ADDRESS_BYTES_MAX);
        record.addresses.truncate(ADDRESSES_MAX);
        let records = self.by_key.get_mut(&record.key);
        if let Some(records) = records {
            if let Some(known) = records.iter_mut().find(|known| **known == record) {
                *known = record;
                return Ok(());
            }
            if records.len() >= PER_KEY_MAX {
                return Ok(());
            }
        }
        self.drop_oldest();
        self.ages.push_back((record.key.clone(), record.provider));
        self.by_key.entry(record.key.clone()).or_default().push(record);
        self.count += 1;
        self.forget_gone();
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let others = self.by_key.get(key).into_iter().flatten();
        self.own.get(key).into_iter().chain(others).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.own.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.me {
            self.own.remove(key);
            return;
        }
        let Some(records) = self.by_key.get_mut(key) else { return };
        let before = records.len();
        records.retain(|record| record.provider != *provider);
        self.count -= before - records.len();
        if records.is_empty() {
            self.by_key.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u32, provider: PeerId) -> ProviderRecord {
        ProviderRecord::new(key.to_be_bytes().to_vec(), provider, vec!["/ip4/1.2.3.4/tcp/1".parse().expect("one"); 50])
    }

    fn key(key: u32) -> RecordKey {
        RecordKey::new(&key.to_be_bytes())
    }

    #[test]
    fn the_oldest_makes_room_and_ours_is_never_refused() {
        let (me, other) = (PeerId::random(), PeerId::random());
        let mut records = Records { records_max: 3, ..Records::new(me) };

        for number in 0..5 {
            records.add_provider(record(number, other)).expect("taken");
        }
        records.add_provider(record(9, me)).expect("taken");

        let held = |records: &Records, number| records.providers(&key(number)).len();
        assert_eq!((0..5).map(|number| held(&records, number)).collect::<Vec<_>>(), [0, 0, 1, 1, 1]);
        assert_eq!((held(&records, 9), records.provided().count()), (1, 1));
        assert_eq!(records.providers(&key(4))[0].addresses.len(), ADDRESSES_MAX);
        records.remove_provider(&key(9), &me);
        records.remove_provider(&key(4), &other);
        assert_eq!((records.count, records.by_key.len(), records.own.len()), (2, 2, 0));
    }

    #[test]
    fn who_comes_and_goes_takes_no_room_and_a_key_has_so_many() {
        let me = PeerId::random();
        let mut records = Records { records_max: 30, ..Records::new(me) };

        for _ in 0..1_000 {
            let other = PeerId::random();
            records.add_provider(record(1, other)).expect("taken");
            records.remove_provider(&key(1), &other);
        }
        assert!(records.ages.len() <= 61 && records.by_key.is_empty(), "{}", records.ages.len());
        for _ in 0..100 {
            records.add_provider(record(1, PeerId::random())).expect("taken");
        }
        assert_eq!((records.providers(&key(1)).len(), records.count), (PER_KEY_MAX, PER_KEY_MAX));
    }
}
