//! The IPFS node in the process: block store, pins, content.
