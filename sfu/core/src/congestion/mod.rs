//! Congestion: so far upward only. The publisher estimates; we tell it when each of its packets arrived.

pub mod twcc;
