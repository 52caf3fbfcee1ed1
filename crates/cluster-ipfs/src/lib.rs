//! The IPFS daemon over its HTTP API: the ipfshttp connector.
