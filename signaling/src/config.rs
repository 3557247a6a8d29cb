//! Configuration.

use std::time::Duration;

use trunkline_signaling_core::limits::{CallTiming, Limits};

use crate::{JwtKey, Place, ServerKey};

/// Everything that an operator may decide about this service.
#[derive(Clone, Debug)]
pub struct SignalingConfig {
    /// The embedded store.
    pub database: Place,
    /// The key that tokens are signed with.
    pub jwt_key: JwtKey,
    /// What a chat server shows to act for users over REST; `None`: none can.
    pub server_key: Option<ServerKey>,
    /// Deadlines of calls.
    pub timing: CallTiming,
    /// Bounds.
    pub limits: Limits,
    /// Whether anyone may log in as anyone by `POST /v1/demo/login`. Only for trying things out.
    pub demo_logins: bool,
    /// How long messages are kept in conversations that do not say; `None` keeps them.
    pub retention: Option<Duration>,
    /// How long a connection may take to say `hello`. Default 10 s. Shorter: less for strangers to hold.
    pub hello_timeout: Duration,
    /// How often a client is pinged. Default 25 s: shorter than the 30 s after which many NATs forget.
    pub ping_interval: Duration,
    /// After how long without a sign of life (pongs count) a client is gone. Default 60 s.
    pub idle_timeout: Duration,
    /// How long one frame may take to leave. Default 30 s. Longer: phones in tunnels keep their session; shorter:
    /// their queues are freed sooner.
    pub write_timeout: Duration,
    /// How often the store is asked for what hints did not tell. Default 5 s.
    pub repair_interval: Duration,
    /// How long sessions may take to send what is queued when they are ended. Default 2 s.
    pub drain_timeout: Duration,
    /// What `bye` tells clients to wait before they reconnect, from and to. Default 0.5–5 s: longer spreads a herd.
    pub reconnect_after: [Duration; 2],
}

impl SignalingConfig {
    /// Defaults for everything else.
    pub fn new(database: Place, jwt_key: JwtKey) -> SignalingConfig {
        SignalingConfig {
            database,
            jwt_key,
            server_key: None,
            timing: CallTiming::default(),
            limits: Limits::default(),
            demo_logins: false,
            retention: None,
            hello_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            repair_interval: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(2),
            reconnect_after: [Duration::from_millis(500), Duration::from_secs(5)],
        }
    }
}
