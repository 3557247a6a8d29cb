//! Trying again above the SDK, whose own retries are off: a server that is restarted is waited for.

use std::time::Duration;

use uuid::Uuid;

use crate::BlobError;

/// How often and how long something is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Attempts in all.
    pub(super) attempts: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub(super) pause: Duration,
    /// The longest pause.
    pub(super) pause_max: Duration,
}

/// For what changes something: some 30 s of pauses, a server's restart.
pub(super) const WRITING: Patience =
    Patience { attempts: 13, pause: Duration::from_millis(100), pause_max: Duration::from_secs(5) };

/// For what somebody waits for: about a second of pauses.
pub(super) const READING: Patience =
    Patience { attempts: 5, pause: Duration::from_millis(100), pause_max: Duration::from_millis(500) };

/// Tries until it succeeds, fails for a reason that stays, or the patience is used up.
pub(super) async fn insist<T, F>(patience: Patience, mut attempt: impl FnMut() -> F) -> Result<T, BlobError>
where
    F: Future<Output = Result<T, BlobError>>,
{
    let mut pause = patience.pause;
    for number in 1.. {
        match attempt().await {
            Err(fault) if fault.is_retryable() && number < patience.attempts => {
                tracing::debug!(%fault, number, "the S3 store is tried again");
            }
            settled => return settled,
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(patience.pause_max);
    }
    unreachable!("the last attempt returns")
}

/// Between half of it and all of it, so that many who wait do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random =
        u32::from_be_bytes(Uuid::new_v4().as_bytes()[..4].try_into().expect("four of sixteen bytes"));
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX)) / 2
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Patience, WRITING, insist, jittered};
    use crate::BlobError;

    const QUICK: Patience =
        Patience { attempts: 4, pause: Duration::from_micros(1), pause_max: Duration::from_micros(2) };

    async fn attempts(outcome: impl Fn(u32) -> Result<u32, BlobError>) -> (u32, Result<u32, BlobError>) {
        let mut made = 0;
        let result = insist(QUICK, || {
            made += 1;
            std::future::ready(outcome(made))
        })
        .await;
        (made, result)
    }

    fn unavailable() -> BlobError {
        BlobError::Unavailable("restarting".to_owned())
    }

    #[tokio::test]
    async fn only_what_may_help_is_tried_again() {
        assert!(matches!(attempts(Ok).await, (1, Ok(1))));
        assert!(matches!(attempts(|n| if n < 3 { Err(unavailable()) } else { Ok(n) }).await, (3, Ok(3))));
        assert!(matches!(attempts(|_| Err(unavailable())).await, (4, Err(BlobError::Unavailable(_)))));
        assert!(matches!(attempts(|_| Err(BlobError::NotFound)).await, (1, Err(BlobError::NotFound))));
        let refused = |_| Err(BlobError::Refused("key".to_owned()));
        assert!(matches!(attempts(refused).await, (1, Err(BlobError::Refused(_)))));
    }

    #[test]
    fn pauses_are_jittered_and_last_for_a_restart() {
        for _ in 0..1000 {
            let pause = jittered(Duration::from_millis(100));
            assert!((Duration::from_millis(50)..=Duration::from_millis(100)).contains(&pause), "{pause:?}");
        }
        let mut pause = WRITING.pause;
        let mut sum = Duration::ZERO;
        for _ in 1..WRITING.attempts {
            sum += pause;
            pause = (pause * 2).min(WRITING.pause_max);
        }
        assert!((Duration::from_secs(30)..Duration::from_secs(45)).contains(&sum), "{sum:?}");
    }
}
