//! HTTP servers: the REST API and the gateway.
