//! Nodes that hold a large DAG together, and in parts: dag-cbor maps of `"0"`, `"1"`, … to blocks, as the reference's.

use crate::Block;
use crate::hash::Naming;
use crate::links::{DAG_CBOR, LinksError};
use bytes::Bytes;
use cid::Cid;
use ipld_core::ipld::Ipld;
use std::collections::BTreeMap;

/// Most links of a node, which has about 270 KiB then. As the reference: `MaxLinks`.
pub const LINKS_MAX: usize = 5_984;

/// The node over these blocks.
#[must_use]
pub fn node(links: &[Cid]) -> Block {
    let map: BTreeMap<String, Ipld> =
        links.iter().enumerate().map(|(number, cid)| (number.to_string(), Ipld::Link(*cid))).collect();
    let data = serde_ipld_dagcbor::to_vec(&map).map(Bytes::from).expect("a map of links is CBOR");
    let naming = Naming { version_1: true, ..Naming::default() };
    Block { cid: naming.cid(DAG_CBOR, &data), data }
}

/// What a node leads to, in order.
///
/// # Errors
/// When it is none.
pub fn links(node: &Block) -> Result<Vec<Cid>, LinksError> {
    let damaged = || LinksError::Damaged(node.cid, "dag-cbor");
    let map: BTreeMap<String, Ipld> = serde_ipld_dagcbor::from_slice(&node.data).map_err(|_| damaged())?;
    let entry = |(name, link): (String, Ipld)| match (name.parse::<usize>(), link) {
        (Ok(number), Ipld::Link(cid)) => Ok((number, cid)),
        _ => Err(damaged()),
    };
    let numbered = map.into_iter().map(entry).collect::<Result<BTreeMap<usize, Cid>, _>>()?;
    Ok(numbered.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: usize) -> Cid {
        Naming { version_1: true, ..Naming::default() }.cid(crate::RAW, number.to_string().as_bytes())
    }

    #[test]
    fn links_come_back_in_order() {
        let leaves: Vec<Cid> = (0..LINKS_MAX).map(leaf).collect();

        let made = node(&leaves);

        assert!(made.data.len() < 300 << 10);
        assert!(links(&made).expect("a node") == leaves);
    }

    #[test]
    fn what_is_no_node_is_refused() {
        let file = Block { cid: leaf(1), data: Bytes::from_static(b"1") };
        assert!(links(&file).is_err());
        let named = serde_ipld_dagcbor::to_vec(&BTreeMap::from([("x", Ipld::Link(leaf(1)))])).expect("CBOR");
        assert!(links(&Block { cid: leaf(1), data: named.into() }).is_err());
    }
}
