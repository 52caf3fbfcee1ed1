//! What the command lines of the programs share: [`args`] as users of the reference type them, [`pages`] made of a definition
//! (completions, manual pages), and the end of a program whose reader has gone ([`pipe`]).

pub mod args;
pub mod pages;
pub mod pipe;
