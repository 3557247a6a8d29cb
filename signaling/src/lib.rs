//! The signaling service.

mod meters;
pub mod store;
