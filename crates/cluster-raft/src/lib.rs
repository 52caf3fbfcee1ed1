//! Consensus by Raft: drives openraft.
