//! The stores: fjall and in memory. The only crate that names the storage engine.
