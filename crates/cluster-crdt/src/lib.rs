//! Consensus by Merkle-CRDT: drives the replica in cluster-core.
