//! Slows down guessing of passwords: pure bookkeeping, the time is handed in.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::network::Network;

/// Wrong tries that cost nothing but the hashing.
const FREE_TRIES: u32 = 5;
/// The longest delay between two tries of one account from one address: never a lock-out for good.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Failures are forgotten after this time without a try.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Tries of one address, whatever the account, as a bucket that refills in a minute.
const PER_ADDRESS: f64 = 20.0;
/// Tries of one account from all addresses that never knew its password, as a bucket that refills in a minute.
const PER_ACCOUNT: f64 = 60.0;
/// Entries kept per table; the oldest go first, so that a flood of invented names costs no memory.
const ENTRIES: usize = 20_000;

/// Who tried how often.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    pairs: BTreeMap<(String, Network), Tries>,
    addresses: BTreeMap<Network, Bucket>,
    accounts: BTreeMap<String, Bucket>,
}

#[derive(Debug)]
struct Tries {
    /// Tries since the last success.
    failures: u32,
    /// When the last try was admitted.
    last: Duration,
    /// A right password came from here before: floods from elsewhere do not hinder this one.
    known: bool,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Duration,
}

impl Throttle {
    /// Admits a try and counts it as failed until [`Self::succeeded`], so that parallel tries count too.
    ///
    /// # Errors
    /// The time after which the next try would be admitted.
    pub(super) fn admit(&mut self, account: &str, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let address = Network::from(address);
        let key = (clip(account), address);
        let (wait, known) = match self.pairs.get(&key) {
            Some(tries) if now.saturating_sub(tries.last) < MEMORY => {
                ((tries.last + delay(tries.failures)).saturating_sub(now), tries.known)
            }
            Some(_) | None => (Duration::ZERO, false),
        };
        if !wait.is_zero() {
            return Err(wait);
        }
        take(&mut self.addresses, address, PER_ADDRESS, now)?;
        if !known {
            take(&mut self.accounts, key.0.clone(), PER_ACCOUNT, now)?;
        }
        make_room(&mut self.pairs, |tries| tries.last);
        let tries = self.pairs.entry(key).or_insert(Tries {
            failures: 0,
            last: now,
            known,
        });
        if now.saturating_sub(tries.last) >= MEMORY {
            tries.failures = 0;
        }
        tries.failures = tries.failures.saturating_add(1);
        tries.last = now;
        Ok(())
    }

    /// How long the next try would have to wait, without being one.
    pub(super) fn wait(&self, account: &str, address: IpAddr, now: Duration) -> Option<Duration> {
        let tries = self.pairs.get(&(clip(account), address.into()))?;
        let wait = (tries.last + delay(tries.failures)).saturating_sub(now);
        (now.saturating_sub(tries.last) < MEMORY && !wait.is_zero()).then_some(wait)
    }

    /// Forgets the failures of an account at an address.
    pub(super) fn succeeded(&mut self, account: &str, address: IpAddr, now: Duration) {
        let address = Network::from(address);
        self.pairs.insert(
            (clip(account), address),
            Tries {
                failures: 0,
                last: now,
                known: true,
            },
        );
        if let Some(bucket) = self.addresses.get_mut(&address) {
            // Many people may share one address: right passwords use up nothing.
            bucket.left = (bucket.left + 1.0).min(PER_ADDRESS);
        }
    }
}

fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE_TRIES) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1 << more.min(10)).min(LONGEST_DELAY),
    }
}

fn take<K: Ord + Clone>(buckets: &mut BTreeMap<K, Bucket>, key: K, size: f64, now: Duration) -> Result<(), Duration> {
    make_room(buckets, |bucket| bucket.filled);
    let bucket = buckets.entry(key).or_insert(Bucket {
        left: size,
        filled: now,
    });
    let per_second = size / 60.0;
    bucket.left = (bucket.left + now.saturating_sub(bucket.filled).as_secs_f64() * per_second).min(size);
    bucket.filled = now;
    if bucket.left < 1.0 {
        return Err(Duration::from_secs_f64((1.0 - bucket.left) / per_second));
    }
    bucket.left -= 1.0;
    Ok(())
}

/// Drops the older half of a full table: rarely, so that the cost per try stays small.
fn make_room<K: Ord + Clone, V>(table: &mut BTreeMap<K, V>, age: impl Fn(&V) -> Duration) {
    if table.len() < ENTRIES {
        return;
    }
    let mut ages: Vec<_> = table.values().map(&age).collect();
    ages.sort_unstable();
    let median = ages[ages.len() / 2];
    let mut older = ENTRIES / 2;
    table.retain(|_, value| {
        let goes = older > 0 && age(value) <= median;
        older -= usize::from(goes);
        !goes
    });
}

fn clip(account: &str) -> String {
    account.chars().take(64).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn tries_get_slower_and_never_stop_for_good() {
        let mut throttle = Throttle::default();
        let mut now = Duration::ZERO;
        for _ in 0..FREE_TRIES {
            assert_eq!(throttle.admit("anna", address(1), now), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..10 {
            let wait = throttle.admit("anna", address(1), now).expect_err("too early");
            waits.push(wait);
            now += wait;
            assert_eq!(
                throttle.admit("anna", address(1), now),
                Ok(()),
                "after the time that was told"
            );
        }
        assert!(waits.is_sorted() && waits[1] == waits[0] * 2, "{waits:?}");
        assert_eq!(waits.last(), Some(&LONGEST_DELAY));
    }

    #[test]
    fn ten_thousand_tries_in_a_minute_are_admitted_thirty_times_at_most() {
        let mut throttle = Throttle::default();
        let tries = (0..10_000_u32).map(|n| (format!("user{}", n % 50), Duration::from_millis(u64::from(n) * 6)));
        let admitted = tries
            .filter(|(name, now)| throttle.admit(name, address(1), *now).is_ok())
            .count();
        assert!(
            (20..=40).contains(&admitted),
            "{admitted}: the bucket and its one refill"
        );
        let one_account = (0..10_000_u32).map(|n| Duration::from_millis(u64::from(n) * 6));
        let admitted = one_account
            .filter(|now| throttle.admit("anna", address(2), *now).is_ok())
            .count();
        assert!(admitted <= 30, "{admitted}");
    }

    #[test]
    fn an_address_that_knew_the_password_is_not_hindered_by_a_flood_from_others() {
        let mut throttle = Throttle::default();
        throttle
            .admit("anna", address(1), Duration::ZERO)
            .expect("the first try");
        throttle.succeeded("anna", address(1), Duration::ZERO);
        let flood = (2..=200)
            .filter(|last| throttle.admit("anna", address(*last), Duration::ZERO).is_ok())
            .count();
        assert!(flood < 70, "{flood}");
        assert_eq!(throttle.admit("anna", address(1), Duration::ZERO), Ok(()));
    }

    #[test]
    fn invented_names_and_addresses_do_not_grow_the_tables_for_ever() {
        let mut throttle = Throttle::default();
        for n in 0..60_000_u32 {
            let [_, b, c, d] = n.to_be_bytes();
            let _ = throttle.admit(
                &n.to_string(),
                IpAddr::from([10, b, c, d]),
                Duration::from_millis(u64::from(n)),
            );
        }
        assert!(throttle.pairs.len() <= ENTRIES && throttle.addresses.len() <= ENTRIES);
        assert!(throttle.accounts.len() <= ENTRIES);
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let mut throttle = Throttle::default();
        let tries = (1..=100_u128).map(|last| IpAddr::from((0x2001_0db8 << 96 | last).to_be_bytes()));
        let admitted = tries.filter(|address| throttle.admit("anna", *address, Duration::ZERO).is_ok());
        assert_eq!(admitted.count(), FREE_TRIES as usize);
    }
}
