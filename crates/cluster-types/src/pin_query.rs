//! Pin options as parameters of a query string, both ways.
