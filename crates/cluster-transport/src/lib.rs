//! TCP or WebSocket, private network, noise or TLS, yamux: assembled once, for the host and for clients over libp2p.
