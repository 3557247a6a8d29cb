//! What a fault looks like from outside: a code, a text for people, and when to try again. The cause goes to the log.

use std::time::Duration;

use trunkline_signaling_api::{ErrorCode, ErrorFrame, ServerFrame};
use trunkline_signaling_core::Refusal;
use trunkline_units::RequestId;

use crate::{AuthError, meters, ports::GrantError, store::StoreError};

/// A fault to be told to a client, by frame or by problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
    pub(crate) retry: Option<Duration>,
    /// The limit that was exceeded, if it is one number. Told by problems alone.
    pub(crate) limit: Option<u64>,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Fault {
        Fault { code, text: text.into(), retry: None, limit: None }
    }

    pub(crate) fn rate_limited(retry: Duration) -> Fault {
        Fault { retry: Some(retry), ..Fault::new(ErrorCode::RateLimited, "too often") }
    }

    pub(crate) fn unavailable(text: &str) -> Fault {
        Fault { retry: Some(Duration::from_secs(1)), ..Fault::new(ErrorCode::Unavailable, text) }
    }

    /// Milliseconds until trying again makes sense, at least one.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        self.retry.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// As a frame; counts it.
    pub(crate) fn frame(self, id: Option<RequestId>) -> ServerFrame {
        meters::error(self.code);
        let retry_ms = self.retry_ms();
        ServerFrame::Error(ErrorFrame { id, code: self.code, text: self.text, retry_ms })
    }
}

impl From<StoreError> for Fault {
    fn from(fault: StoreError) -> Fault {
        match fault {
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "the store was not available for a request");
                Fault::unavailable("not available now")
            }
            StoreError::Internal(why) => {
                tracing::error!(why, "the store failed a request");
                Fault::new(ErrorCode::Internal, "a fault of the server")
            }
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        let limit = match refusal {
            Refusal::TooLarge { max, .. } => u64::try_from(max).ok(),
            _ => None,
        };
        Fault { limit, ..Fault::new(refusal.code(), refusal.to_string()) }
    }
}

impl From<GrantError> for Fault {
    fn from(fault: GrantError) -> Fault {
        match fault {
            GrantError::TooLarge { max } => {
                Fault { limit: Some(max), ..Fault::new(ErrorCode::TooLarge, fault.to_string()) }
            }
            GrantError::QuotaExceeded(what) => Fault::new(ErrorCode::QuotaExceeded, what),
            GrantError::Unavailable => Fault::unavailable("the media store is not available"),
        }
    }
}

impl From<AuthError> for Fault {
    fn from(fault: AuthError) -> Fault {
        let code = match fault {
            AuthError::Bad => ErrorCode::BadToken,
            AuthError::Expired => ErrorCode::ExpiredToken,
        };
        Fault::new(code, fault.to_string())
    }
}
