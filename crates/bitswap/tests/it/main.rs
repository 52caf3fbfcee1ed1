//! Bitswap between peers of one process, and against what the reference said.

mod exchange;
mod fuzz;
mod recorded;
