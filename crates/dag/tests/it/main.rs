//! Blocks against those of Kubo.

mod add;
