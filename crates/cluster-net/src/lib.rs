//! The libp2p host: swarm, RPC wire, pubsub, block exchange, discovery, private network.
