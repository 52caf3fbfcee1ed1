//! The commands, one file each.

pub(crate) mod clusters;
pub(crate) mod info;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod run;
