//! Blocks against those of Kubo: made of files and directories, read back, and in CAR files.

mod add;
mod car;
mod fuzz;
mod read;
