//! How many calls a browser session may make: a bucket that refills.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::ConnectionLimits;

/// The calls that one session has left.
#[derive(Debug)]
pub(super) struct CallRate {
    per_second: f64,
    burst: f64,
    left: f64,
    filled: Instant,
}

impl CallRate {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        let burst = f64::from(limits.calls_burst);
        Self {
            per_second: f64::from(limits.calls_per_second),
            burst,
            left: burst,
            filled: Instant::now(),
        }
    }

    /// So many calls on average, four times as many at once.
    pub(super) fn per_second(average: u32) -> Self {
        let per_second = f64::from(average);
        Self {
            per_second,
            burst: 4.0 * per_second,
            left: 4.0 * per_second,
            filled: Instant::now(),
        }
    }

    /// How many calls per second are allowed on average.
    pub(super) const fn average(&self) -> f64 {
        self.per_second
    }

    /// Takes one call out of the bucket, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.filled);
        if passed > Duration::ZERO {
            self.left = (self.left + passed.as_secs_f64() * self.per_second).min(self.burst);
            self.filled = now;
        }
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_followed_by_the_average() {
        let mut rate = CallRate::new(&ConnectionLimits::default());
        let mut allowed = || (0..1000).filter(|_| rate.take()).count();
        assert_eq!(allowed(), 200);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(allowed(), 50);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(allowed(), 200);
    }
}
