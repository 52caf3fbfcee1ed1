//! The IPFS node in the process: blocks in segment files, pins, garbage collection, content for the gateway.
