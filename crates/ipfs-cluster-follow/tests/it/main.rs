//! The real program: what the reference was recorded to do, and what it does better.

mod beyond;
mod program;
mod recorded;
