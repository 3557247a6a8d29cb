//! A bad network as a value: seeded, without sockets and clocks, so that a failing test replays.
//!
//! [`Link`] is one direction of a path. Push datagrams, pop those that have arrived, and jump time to
//! [`Link::next_at`]:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use trunkline_netsim::{Link, LinkConfig, Loss};
//!
//! let mut now = Instant::now();
//! let config = LinkConfig { delay: Duration::from_millis(40), loss: Loss::Random(0.1), ..LinkConfig::default() };
//! let mut link = Link::new(7, config);
//! link.push(vec![1, 2, 3], now);
//! while let Some(at) = link.next_at() {
//!     now = at;
//!     while let Some(datagram) = link.pop(now) {
//!         assert_eq!(datagram, [1, 2, 3]);
//!     }
//! }
//! ```

mod link;
mod rng;
#[cfg(test)]
mod tests;

pub use link::{Link, LinkConfig, LinkStats, Loss};
pub use rng::Rng;
