//! The SFU's shell: media threads and sockets around `sfu/core`, the control interface, and WHIP and WHEP.
//!
//! [`Sfu::start`] binds one UDP port with a socket a shard and starts the threads. [`Sfu::join`] answers an SDP
//! offer; what then happens to a participant is told as [`SfuEvent`]s.

mod control;
mod http;
mod media_thread;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

pub use control::JoinError;
pub use http::{HttpState, router};
pub use trunkline_sfu_core::drop::Drop;
pub use trunkline_sfu_core::layers::View;
pub use trunkline_sfu_core::limits::Limits;
pub use trunkline_sfu_core::shard::GoneReason;
pub use trunkline_sfu_core::stats::Stats;

use control::{Allowed, Control};

/// How the SFU is run.
#[derive(Clone, Debug)]
pub struct SfuConfig {
    /// Address of the one media port; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What clients are told to send to, in order of preference. Empty: the bound address, which must then not be a
    /// wildcard. A port of 0 stands for the bound port.
    pub advertise: Vec<SocketAddr>,
    /// Media threads; at least 1.
    pub shards: usize,
    /// Bounds of each shard.
    pub limits: Limits,
}

/// Something happened to a participant. Rooms and participants bear the names that [`Sfu::join`] was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SfuEvent {
    /// ICE and DTLS are done.
    Connected {
        /// Room's name.
        room: String,
        /// Participant's name.
        participant: String,
    },
    /// Who is in which slot of this participant's screen now.
    Slots {
        /// Room's name.
        room: String,
        /// Whose screen.
        participant: String,
        /// Every slot.
        slots: Vec<SlotOccupant>,
    },
    /// The participant's transport is gone. Not told after [`Sfu::leave`] or when a new offer replaced it.
    Gone {
        /// Room's name.
        room: String,
        /// Participant's name.
        participant: String,
        /// Why.
        why: GoneReason,
    },
}

/// One slot and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotOccupant {
    /// Counted from 0 in the order of the offer.
    pub slot: u16,
    /// Mid of its audio section.
    pub mid_audio: Option<String>,
    /// Mid of its video section.
    pub mid_video: Option<String>,
    /// Name of the participant shown.
    pub participant: Option<String>,
}

/// A running SFU; cloning gives another handle.
#[derive(Clone)]
pub struct Sfu {
    control: Arc<Control>,
}

impl Sfu {
    /// Binds the media port and starts the shards.
    ///
    /// # Errors
    /// The port cannot be bound, a thread cannot be started, or there is no address to advertise.
    pub fn start(config: &SfuConfig, events: UnboundedSender<SfuEvent>) -> io::Result<Self> {
        Ok(Self { control: Control::start(config, events)? })
    }

    /// The media port's bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.control.local_addr()
    }

    /// Answers the offer of a participant. A participant of that name in that room is replaced.
    ///
    /// # Errors
    /// [`JoinError`] says whose fault it is.
    pub fn join(&self, room: &str, participant: &str, offer: &str) -> Result<String, JoinError> {
        self.control.join(room, participant, offer, Allowed::Both)
    }

    /// Whether a participant of that name is in that room.
    pub fn contains(&self, room: &str, participant: &str) -> bool {
        self.control.contains(room, participant)
    }

    /// Removes a participant, if it is there.
    pub fn leave(&self, room: &str, participant: &str) {
        self.control.leave(room, participant);
    }

    /// Removes every participant of a room.
    pub fn close_room(&self, room: &str) {
        self.control.close_room(room);
    }

    /// Says how large a participant shows its slots: (slot, size) pairs.
    pub fn view(&self, room: &str, participant: &str, slots: Vec<(u16, View)>) {
        self.control.view(room, participant, slots);
    }

    /// Rooms in which at least one participant is connected.
    pub fn live_rooms(&self) -> Vec<String> {
        self.control.live_rooms()
    }

    /// The sum of the shards' counters, at most a tenth of a second old.
    pub fn stats(&self) -> Stats {
        self.control.stats()
    }

    /// Writes [`Sfu::stats`] into the process' metrics recorder.
    pub fn record_metrics(&self) {
        let stats = self.stats();
        metrics::counter!("sfu_received_packets_total").absolute(stats.received_packets);
        metrics::counter!("sfu_received_bytes_total").absolute(stats.received_bytes);
        metrics::counter!("sfu_forwarded_packets_total").absolute(stats.forwarded_packets);
        metrics::counter!("sfu_forwarded_bytes_total").absolute(stats.forwarded_bytes);
        metrics::counter!("sfu_resent_packets_total").absolute(stats.resent_packets);
        metrics::counter!("sfu_repaired_packets_total").absolute(stats.repaired_packets);
        metrics::counter!("sfu_nacked_packets_total").absolute(stats.nacked_packets);
        metrics::counter!("sfu_keyframe_requests_total").absolute(stats.keyframe_requests);
        metrics::gauge!("sfu_transports").set(stats.transports as f64);
        for reason in Drop::ALL {
            metrics::counter!("sfu_dropped_packets_total", "reason" => reason.label())
                .absolute(stats.dropped[reason as usize]);
        }
    }

    /// Closes every transport and ends the threads; returns when they are gone.
    pub fn shutdown(&self) {
        self.control.shutdown();
    }
}

#[cfg(test)]
mod tests;
