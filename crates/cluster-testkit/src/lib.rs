//! In-memory network, manual clock, fake IPFS and contract suites. For tests only.
