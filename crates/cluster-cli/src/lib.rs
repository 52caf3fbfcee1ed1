//! What the command lines of the programs share: [`args`] as users of the reference type them, [`pages`] made of a definition
//! (completions, manual pages), the end of a program whose reader has gone ([`pipe`]), and a bar for what takes long
//! ([`progress`]).

pub mod args;
pub mod pages;
pub mod pipe;
pub mod progress;
