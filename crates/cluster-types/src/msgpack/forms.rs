//! The forms of our types: keys, order and what is left out as the reference's structs have them.

use super::read::{Known, Malformed, Reader};
use super::write::{Fields, Writer};
use super::{Pack, Unpack};
use crate::{
    Cid, Metric, Multiaddr, PeerId, PeerInfo, PeerIpfs, Pin, PinInfo, PinInfoShort, PinMode, PinOptions, PinType,
    RepoGc, RepoGcKey, RepoStat, Timestamp, TrackerStatus, Version,
};
use bytes::Bytes;
use std::collections::BTreeMap;

impl Pack for () {
    fn pack(&self, out: &mut Writer) {
        out.map(0);
    }
}

impl Unpack for () {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        input.skip()
    }
}

impl Pack for str {
    fn pack(&self, out: &mut Writer) {
        out.raw(self.as_bytes());
    }
}

impl Pack for Bytes {
    fn pack(&self, out: &mut Writer) {
        out.raw(self);
    }
}

impl Unpack for Bytes {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Bytes::copy_from_slice(input.raw()?.unwrap_or_default()))
    }
}

impl Unpack for String {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        input.text()
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack(&self, out: &mut Writer) {
        out.array(self.len());
        self.iter().for_each(|item| item.pack(out));
    }
}

impl<T: Unpack> Unpack for Vec<T> {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        // The length is somebody's word: room is made as items come.
        (0..input.array()?).map(|_| T::unpack(input)).collect()
    }
}

impl Pack for BTreeMap<String, String> {
    fn pack(&self, out: &mut Writer) {
        out.map(self.len());
        for (key, value) in self {
            out.raw(key.as_bytes());
            out.raw(value.as_bytes());
        }
    }
}

impl Unpack for BTreeMap<String, String> {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        (0..input.map()?).map(|_| Ok((input.text()?, input.text()?))).collect()
    }
}

/// Reads bytes that may be nothing.
fn raw_as<T>(
    input: &mut Reader<'_>,
    what: &'static str,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, Malformed> {
    match input.raw()? {
        None | Some([]) => Ok(None),
        Some(bytes) => read(bytes).map(Some).ok_or(Malformed::new(what)),
    }
}

/// Types whose form is their bytes.
macro_rules! by_its_bytes {
    ($($type:ty, $what:literal, |$value:ident| $write:expr, |$bytes:ident| $read:expr;)*) => { $(
        impl Pack for $type {
            fn pack(&self, out: &mut Writer) {
                let $value = self;
                out.raw(&$write);
            }
        }

        impl Unpack for $type {
            fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                Option::<Self>::unpack(input)?.ok_or(Malformed::new(concat!("there is no ", $what)))
            }
        }

        impl Unpack for Option<$type> {
            fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                raw_as(input, concat!("it is no ", $what), |$bytes| $read)
            }
        }
    )* };
}

by_its_bytes! {
    Cid, "CID", |cid| cid.to_bytes(), |bytes| Cid::from_bytes(bytes).ok();
    PeerId, "peer", |peer| peer.to_bytes(), |bytes| PeerId::from_bytes(bytes).ok();
    Multiaddr, "multiaddress", |address| address.to_vec(), |bytes| Multiaddr::try_from(bytes.to_vec()).ok();
}

impl Pack for TrackerStatus {
    fn pack(&self, out: &mut Writer) {
        out.int(i64::from(self.0));
    }
}

impl Unpack for TrackerStatus {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        u16::try_from(input.int()?).map(Self).map_err(|_| Malformed::new("it is no status"))
    }
}

impl Pack for Version {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.always("v", |out| self.version.as_str().pack(out));
        fields.finish(out);
    }
}

impl Unpack for Version {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut version = Self::default();
        input.fields(|key, value| {
            match key {
                b"v" => version.version = value.text()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(version)
    }
}

impl PinOptions {
    fn put(&self, fields: &mut Fields) {
        fields.int("rn", i64::from(self.replication_factor_min));
        fields.int("rx", i64::from(self.replication_factor_max));
        fields.text("n", &self.name);
        fields.int("o", i64::from(self.mode == PinMode::Direct));
        fields.uint("s", self.shard_size);
        fields.some("ua", self.user_allocations.as_ref());
        fields.time("e", self.expire_at);
        fields.some("m", self.metadata.as_ref());
        fields.some("pu", self.pin_update.as_ref());
        fields.some("g", self.origins.as_ref());
    }

    fn read(&mut self, key: &[u8], value: &mut Reader<'_>) -> Result<Known, Malformed> {
        match key {
            b"rn" => self.replication_factor_min = factor(value)?,
            b"rx" => self.replication_factor_max = factor(value)?,
            b"n" => self.name = value.text()?,
            b"o" => self.mode = if value.int()? == 1 { PinMode::Direct } else { PinMode::Recursive },
            b"s" => self.shard_size = value.uint()?,
            b"ua" => self.user_allocations = some_list(value)?,
            b"e" => self.expire_at = value.time()?,
            b"m" => self.metadata = Some(Unpack::unpack(value)?).filter(|map: &BTreeMap<_, _>| !map.is_empty()),
            b"pu" => self.pin_update = Unpack::unpack(value)?,
            b"g" => self.origins = some_list(value)?,
            _ => return Ok(Known::No),
        }
        Ok(Known::Yes)
    }
}

fn factor(value: &mut Reader<'_>) -> Result<i32, Malformed> {
    i32::try_from(value.int()?).map_err(|_| Malformed::new("the number is too large"))
}

/// A list; none and nothing are told apart, as in JSON.
fn some_list<T: Unpack>(value: &mut Reader<'_>) -> Result<Option<Vec<T>>, Malformed> {
    if value.nil() { Ok(None) } else { Vec::unpack(value).map(Some) }
}

impl Pack for Pin {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        self.options.put(&mut fields);
        fields.always("c", |out| self.cid.pack(out));
        fields.uint("t", self.kind.bit());
        fields.always("a", |out| self.allocations.pack(out));
        fields.int("d", i64::from(self.max_depth));
        fields.some("r", self.reference.as_ref());
        fields.time("i", self.timestamp);
        fields.finish(out);
    }
}

impl Unpack for Pin {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut cid, mut pin) = (None, Pin::new(Cid(Default::default()), PinOptions::default()));
        (pin.kind, pin.max_depth) = (PinType::Bad, 0);
        input.fields(|key, value| {
            match key {
                b"c" => cid = Unpack::unpack(value)?,
                b"t" => pin.kind = pin_type(value.uint()?),
                b"a" => pin.allocations = Unpack::unpack(value)?,
                b"d" => pin.max_depth = factor(value)?,
                b"r" => pin.reference = Unpack::unpack(value)?,
                b"i" => pin.timestamp = value.time()?,
                _ => return pin.options.read(key, value),
            }
            Ok(Known::Yes)
        })?;
        pin.cid = cid.ok_or(Malformed::new("the pin has no CID"))?;
        Ok(pin)
    }
}

fn pin_type(bit: u64) -> PinType {
    PinType::ALL.into_iter().find(|kind| kind.bit() == bit).unwrap_or(PinType::Bad)
}

impl PinInfoShort {
    fn put(&self, fields: &mut Fields) {
        fields.text("pn", &self.peername);
        fields.some("i", self.ipfs_peer_id.as_ref());
        fields.when(!self.ipfs_peer_addresses.is_empty(), "ia", |out| self.ipfs_peer_addresses.pack(out));
        fields.int("st", i64::from(self.status.0));
        fields.time("ts", self.timestamp);
        fields.text("e", &self.error);
        fields.int("a", i64::from(self.attempt_count));
        fields.truth("y", self.priority_pin);
        // Ours alone; a peer of the reference passes over keys that it does not know.
        fields.uint("xblocks", self.progress.map_or(0, |progress| progress.blocks));
        fields.uint("xbytes", self.progress.map_or(0, |progress| progress.bytes));
        fields.time("xretry", self.retry_at.unwrap_or(Timestamp::ZERO));
    }

    fn read(&mut self, key: &[u8], value: &mut Reader<'_>) -> Result<Known, Malformed> {
        match key {
            b"pn" => self.peername = value.text()?,
            b"i" => self.ipfs_peer_id = Unpack::unpack(value)?,
            b"ia" => self.ipfs_peer_addresses = Unpack::unpack(value)?,
            b"st" => self.status = Unpack::unpack(value)?,
            b"ts" => self.timestamp = value.time()?,
            b"e" => self.error = value.text()?,
            b"a" => self.attempt_count = u32::try_from(value.int()?).unwrap_or_default(),
            b"y" => self.priority_pin = value.bool()?,
            b"xretry" => self.retry_at = Some(value.time()?).filter(|moment| !moment.is_zero()),
            b"xblocks" => self.progress.get_or_insert_default().blocks = value.uint()?,
            b"xbytes" => self.progress.get_or_insert_default().bytes = value.uint()?,
            _ => return Ok(Known::No),
        }
        Ok(Known::Yes)
    }
}

impl Pack for PinInfo {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.always("c", |out| self.cid.pack(out));
        fields.text("m", &self.name);
        fields.always("p", |out| self.peer.pack(out));
        fields.some("o", self.allocations.as_ref());
        fields.some("g", self.origins.as_ref());
        fields.time("t", self.created);
        fields.some("md", self.metadata.as_ref());
        self.status.put(&mut fields);
        fields.finish(out);
    }
}

impl Unpack for PinInfo {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut cid, mut peer, mut name, mut created) = (None, None, String::new(), Timestamp::ZERO);
        let (mut allocations, mut origins, mut metadata) = (None, None, None);
        let mut status = PinInfoShort::default();
        input.fields(|key, value| {
            match key {
                b"c" => cid = Unpack::unpack(value)?,
                b"m" => name = value.text()?,
                b"p" => peer = Unpack::unpack(value)?,
                b"o" => allocations = some_list(value)?,
                b"g" => origins = some_list(value)?,
                b"t" => created = value.time()?,
                b"md" => metadata = Some(Unpack::unpack(value)?).filter(|map: &BTreeMap<_, _>| !map.is_empty()),
                _ => return status.read(key, value),
            }
            Ok(Known::Yes)
        })?;
        let cid = cid.ok_or(Malformed::new("the status has no CID"))?;
        let peer = peer.ok_or(Malformed::new("the status has no peer"))?;
        Ok(Self { cid, name, peer, allocations, origins, created, metadata, status })
    }
}

impl Pack for PeerIpfs {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.some("i", self.id.as_ref());
        fields.some("a", self.addresses.as_ref());
        fields.text("e", &self.error);
        fields.finish(out);
    }
}

impl Unpack for PeerIpfs {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut ipfs = Self::default();
        input.fields(|key, value| {
            match key {
                b"i" => ipfs.id = Unpack::unpack(value)?,
                b"a" => ipfs.addresses = some_list(value)?,
                b"e" => ipfs.error = value.text()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(ipfs)
    }
}

impl Pack for PeerInfo {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.some("i", self.id.as_ref());
        fields.some("a", self.addresses.as_ref());
        fields.some("cp", self.cluster_peers.as_ref());
        fields.some("cpa", self.cluster_peers_addresses.as_ref());
        fields.text("v", &self.version);
        fields.text("c", &self.commit);
        fields.text("rv", &self.rpc_protocol_version);
        fields.text("e", &self.error);
        fields.when(self.ipfs != PeerIpfs::default(), "ip", |out| self.ipfs.pack(out));
        fields.text("pn", &self.peername);
        fields.finish(out);
    }
}

impl Unpack for PeerInfo {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut info = Self::default();
        input.fields(|key, value| {
            match key {
                b"i" => info.id = Unpack::unpack(value)?,
                b"a" => info.addresses = some_list(value)?,
                b"cp" => info.cluster_peers = some_list(value)?,
                b"cpa" => info.cluster_peers_addresses = some_list(value)?,
                b"v" => info.version = value.text()?,
                b"c" => info.commit = value.text()?,
                b"rv" => info.rpc_protocol_version = value.text()?,
                b"e" => info.error = value.text()?,
                b"ip" => info.ipfs = Unpack::unpack(value)?,
                b"pn" => info.peername = value.text()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(info)
    }
}

impl Pack for RepoStat {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.uint("r", self.repo_size);
        fields.always("s", |out| out.uint(self.storage_max));
        fields.finish(out);
    }
}

impl Unpack for RepoStat {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut stat = Self::default();
        input.fields(|key, value| {
            match key {
                b"r" => stat.repo_size = value.uint()?,
                b"s" => stat.storage_max = value.uint()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(stat)
    }
}

impl Pack for RepoGcKey {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.some("k", self.key.as_ref());
        fields.text("e", &self.error);
        fields.finish(out);
    }
}

impl Unpack for RepoGcKey {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut key_or_error = Self::default();
        input.fields(|key, value| {
            match key {
                b"k" => key_or_error.key = Unpack::unpack(value)?,
                b"e" => key_or_error.error = value.text()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(key_or_error)
    }
}

impl Pack for RepoGc {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.always("p", |out| self.peer.pack(out));
        fields.text("pn", &self.peername);
        fields.always("k", |out| self.keys.pack(out));
        fields.text("e", &self.error);
        fields.finish(out);
    }
}

impl Unpack for RepoGc {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut peer, mut peername, mut keys, mut error) = (None, String::new(), Vec::new(), String::new());
        input.fields(|key, value| {
            match key {
                b"p" => peer = Unpack::unpack(value)?,
                b"pn" => peername = value.text()?,
                b"k" => keys = Unpack::unpack(value)?,
                b"e" => error = value.text()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(Self { peer: peer.ok_or(Malformed::new("the collection has no peer"))?, peername, keys, error })
    }
}

impl Pack for Metric {
    /// When it was received is not told: it is of use to the receiver alone.
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.text("n", &self.name);
        fields.always("p", |out| self.peer.pack(out));
        fields.text("v", &self.value);
        fields.int("e", self.expire.unix_nanos());
        fields.truth("d", self.valid);
        fields.int("w", self.weight);
        fields.truth("o", self.partitionable);
        fields.finish(out);
    }
}

impl Unpack for Metric {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut peer, mut name, mut text) = (None, String::new(), String::new());
        let (mut expire, mut weight, mut valid, mut partitionable) = (0, 0, false, false);
        input.fields(|key, value| {
            match key {
                b"n" => name = value.text()?,
                b"p" => peer = Unpack::unpack(value)?,
                b"v" => text = value.text()?,
                b"e" => expire = value.int()?,
                b"d" => valid = value.bool()?,
                b"w" => weight = value.int()?,
                b"o" => partitionable = value.bool()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        let peer = peer.ok_or(Malformed::new("the metric has no peer"))?;
        let expire = Timestamp::from_unix_nanos(expire);
        Ok(Self { name, peer, value: text, expire, valid, weight, partitionable, received_at: Timestamp::ZERO })
    }
}
