//! Every bound of the signaling service, with what it costs and what moving it does.

use std::time::Duration;

use crate::bucket::Rate;

/// How long the phases of a call may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTiming {
    /// From the invitation until ringing stops. Default 60 s. Longer: more calls are answered from another room;
    /// shorter: callers of an absent person learn it sooner.
    pub ring: Duration,
    /// How long a call lives without news of its media, and how long a participant has for its first connection.
    /// Default 45 s. Longer: dead calls show as live for longer; shorter: a slow network or a restart of the SFU
    /// ends calls that would have come back.
    pub lease: Duration,
    /// How long a participant whose media is gone may take to come back. Default 15 s. Longer: others look at a
    /// frozen tile for longer; shorter: a train tunnel ends the call.
    pub rejoin: Duration,
}

impl Default for CallTiming {
    fn default() -> Self {
        CallTiming {
            ring: Duration::from_secs(60),
            lease: Duration::from_secs(45),
            rejoin: Duration::from_secs(15),
        }
    }
}

/// Bounds on what clients may keep and ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes queued for one session before messages are dropped and it is told `behind`. Default 256 KiB: that times
    /// `sessions` is the worst case. Higher: slow phones are told `behind` less often; lower: less memory.
    pub queue_bytes: usize,
    /// Sessions of one user. Default 16. Worst case: `queue_bytes` each. Raising it lets a user have more devices on
    /// line at once.
    pub sessions_per_user: usize,
    /// Sessions of this node, greetings included. Default 50,000, some 6 KB each when idle and `queue_bytes` when
    /// slow. Above it new connections are told `unavailable`.
    pub sessions: usize,
    /// Answers being worked on for one session; reading pauses above it. Default 32. Higher: more of a burst of
    /// `send` shares one commit; lower: less memory for a session that floods.
    pub requests_in_flight: usize,
    /// Conversations of one user. Default 1,000. Costs a row each, and some 100 bytes in each session.
    pub conversations_per_user: usize,
    /// Members of one conversation. Default 256. A message to it is queued for each member's devices.
    pub members: usize,
    /// Legs of one call, ringing devices included. Default 128: a `call` frame then has some 12 KB. Beyond it devices
    /// ring without being listed, whoever joins takes the place of one that is not in it, and only when all are joining is refused.
    pub legs: usize,
    /// `send` of one device. Default 20/s, burst 60.
    pub sends: Rate,
    /// `send` of one user on all devices. Default 40/s, burst 120.
    pub user_sends: Rate,
    /// Invitations of one user. Default 1 in 2 s, burst 10. Higher: more rings from one person in a short time.
    pub invites: Rate,
    /// Every other frame of one session. Default 50/s, burst 200. Frames without an answer are dropped above it.
    pub frames: Rate,
    /// Sessions that one user begins. Default 2/s, burst 60. Each reads the user's conversations: higher lets one user
    /// keep the store busier; lower keeps a person with many devices waiting after a failure.
    pub greetings: Rate,
    /// HTTP requests of one user. Default 20/s, burst 100.
    pub requests: Rate,
    /// Uploads that one user asks for, each an HTTP request too. Default 5/s, burst 60. Higher: larger albums at once, and
    /// more work for the media store from one person; lower: an album waits.
    pub uploads: Rate,
    /// HTTP requests under the server key, all users that it acts for together; nothing else bounds what it asks for.
    /// Default 500/s, burst 2,000. Higher: a chat server's rush waits less and can keep the store busier; lower: it leaves
    /// more of the store to people.
    pub server_requests: Rate,
    /// Users whose buckets are remembered. Default 100,000 at some 230 bytes. When so many are in use at once, others
    /// are told `rate_limited`.
    pub buckets: usize,
    /// Demo logins of the whole node. Default 20/s, burst 100.
    pub logins: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Limits {
            queue_bytes: 256 * 1024,
            sessions_per_user: 16,
            sessions: 50_000,
            requests_in_flight: 32,
            conversations_per_user: 1_000,
            members: 256,
            legs: 128,
            sends: rate(20.0, 60.0),
            user_sends: rate(40.0, 120.0),
            invites: rate(0.5, 10.0),
            frames: rate(50.0, 200.0),
            greetings: rate(2.0, 60.0),
            requests: rate(20.0, 100.0),
            uploads: rate(5.0, 60.0),
            server_requests: rate(500.0, 2_000.0),
            buckets: 100_000,
            logins: rate(20.0, 100.0),
        }
    }
}
