//! The composition root of Trunkline: one binary that joins signaling, the SFU, TURN and the media store.
//!
//! Nothing is decided here. [`config`] says what to start, [`app::App`] holds every start-up and shutdown order, and
//! the services meet only through the port traits that signaling declares. An embedder gets the same server by
//! calling [`app::App::start`].

pub mod app;
mod attachments;
pub mod cli;
pub mod config;
mod listener;
mod media;
pub mod net;
pub mod ops;
mod ports;
pub mod secrets;
mod services;
pub mod telemetry;
pub mod tokens;
mod turn_check;
pub mod web;
