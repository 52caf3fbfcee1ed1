//! The bitswap protocol as a libp2p behaviour: knows nothing of clusters.
