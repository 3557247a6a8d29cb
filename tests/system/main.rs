//! Whole-system tests: the rules a machine keeps over the tree, and the real binary.

mod arrows;
mod kill;
mod process;
mod random;
mod reload;
mod server;
mod tidy;
mod uploads;
mod wire;
