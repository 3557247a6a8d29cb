//! Repair of loss: what is missing from a publisher (`nack`), what can be given again (`ring`), and
//! how often it is given (`resend`).

pub mod nack;
pub mod resend;
pub mod ring;
