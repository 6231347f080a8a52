//! How often: requests per address and per user, new accounts, refreshes, and guesses of passwords.
//!
//! Owns: the numbers and the verdict. Must not: know HTTP. Every door comes past here: each request is counted by
//! its address before anything else is done with it, so a wrong token costs as much as a right one, and by its user
//! in `Ops::authenticate`, which no door can do without.
//!
//! An address counts as its network: IPv4 as it is, IPv6 by its first 64 bits, which one customer gets at least.
//! Memory is bounded: while a limit has [`MAX_KEYS`] keys that it can't forget, addresses share the place of the
//! network around them (IPv4 /16, IPv6 /32). Nobody gets in uncounted, and who has many addresses crowds out his own
//! neighbours.
//!
//! `guesses` is about passwords.

mod guesses;

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};
use patchbay_core::UserId;

use super::{Error, Result};
use crate::config::{self, Count};

pub(super) use guesses::{Attempt, Guesses};

/// Most keys that a limit knows, about 50 bytes each.
const MAX_KEYS: usize = 100_000;
/// Places that are shared by networks once a limit is full.
const SHARED: u64 = 65_536;
/// How often a full limit is searched for keys that it can forget.
const SWEEP: Duration = Duration::from_secs(1);

/// What is counted: a hash with a secret of this process, so that nobody can choose whose place he shares.
#[derive(Clone, Copy, Debug)]
struct Key {
    own: u64,
    around: u64,
}

/// All limits. None if rates are not limited.
#[derive(Debug)]
pub(super) struct Rates {
    secret: std::hash::RandomState,
    requests_by_address: Rate,
    requests_by_user: Rate,
    registrations: Rate,
    refreshes: Rate,
    pub(super) guesses: Guesses,
}

impl Rates {
    pub(super) fn new(limits: &config::Limits) -> Option<Self> {
        let minute = Duration::from_secs(60);
        limits.limits_rates().then(|| Self {
            secret: std::hash::RandomState::new(),
            requests_by_address: Rate::new(limits.requests_per_address, minute),
            requests_by_user: Rate::new(limits.requests_per_user, minute),
            registrations: Rate::new(limits.registrations_per_address, minute * 60),
            refreshes: Rate::new(limits.refreshes_per_address, minute),
            guesses: Guesses::new(limits),
        })
    }

    pub(super) fn request(&self, from: IpAddr) -> Result<()> {
        self.requests_by_address.take(self.address(from))
    }

    pub(super) fn request_of(&self, user: UserId) -> Result<()> {
        // Users can't be made up, so their keys need no network around them.
        let own = self.secret.hash_one(("user", user.0));
        self.requests_by_user.take(Key { own, around: own })
    }

    pub(super) fn registration(&self, from: IpAddr) -> Result<()> {
        self.registrations.take(self.address(from))
    }

    pub(super) fn refresh(&self, from: IpAddr) -> Result<()> {
        self.refreshes.take(self.address(from))
    }

    fn address(&self, ip: IpAddr) -> Key {
        let (network, around) = network(ip);
        Key { own: self.secret.hash_one(network), around: self.secret.hash_one(around) }
    }
}

/// What an address counts as, and the network around that.
fn network(ip: IpAddr) -> (u64, u64) {
    match ip.to_canonical() {
        // No IPv6 network in use begins with 32 zero bits and has others after them.
        IpAddr::V4(ip) => (u64::from(ip.to_bits()), u64::from(ip.to_bits() >> 16)),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            let first = |count: u32| u64::try_from(bits >> (128 - count)).unwrap_or(u64::MAX);
            (first(64), first(32) << 32)
        }
    }
}

/// Whether two addresses count as one.
pub(super) fn same_network(one: IpAddr, other: IpAddr) -> bool {
    network(one).0 == network(other).0
}

/// One limit.
#[derive(Debug)]
struct Rate {
    limiter: RateLimiter<u64, HashMapStateStore<u64>, DefaultClock>,
    begun: Instant,
    /// Milliseconds after `begun`.
    swept: AtomicU64,
}

impl Rate {
    fn new(count: Count, period: Duration) -> Self {
        // A count is at most a million, so that the time for one is never zero.
        let each = period / count.0.get();
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(count.0)).allow_burst(count.0);
        Self { limiter: RateLimiter::hashmap(quota), begun: Instant::now(), swept: AtomicU64::new(0) }
    }

    fn take(&self, key: Key) -> Result<()> {
        let place = if self.is_full() { key.around % SHARED } else { key.own };
        self.limiter
            .check_key(&place)
            .map_err(|refused| Error::TooMany(refused.wait_time_from(DefaultClock::default().now())))
    }

    fn is_full(&self) -> bool {
        if self.limiter.len() < MAX_KEYS {
            return false;
        }
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let swept = self.swept.load(Ordering::Relaxed);
        let due = now.saturating_sub(swept) >= u64::try_from(SWEEP.as_millis()).unwrap_or(u64::MAX);
        if due && self.swept.compare_exchange(swept, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.limiter.retain_recent();
        }
        self.limiter.len() >= MAX_KEYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Count;

    fn rate(count: u32) -> Rate {
        Rate::new(Count(count.try_into().unwrap()), Duration::from_secs(3600))
    }

    #[test]
    fn an_allowance_is_used_up_and_says_when_to_come_back() {
        let rate = rate(3);
        let key = Key { own: 1, around: 1 };
        for _ in 0..3 {
            rate.take(key).unwrap();
        }
        let Err(Error::TooMany(wait)) = rate.take(key) else { panic!("not refused") };
        assert!(wait > Duration::from_secs(1190) && wait <= Duration::from_secs(1200), "{wait:?}");
        rate.take(Key { own: 2, around: 1 }).unwrap();
    }

    #[test]
    fn a_full_limit_counts_by_the_network_around_and_lets_nobody_in_uncounted() {
        let rate = rate(2);
        for own in 0..u64::try_from(MAX_KEYS).unwrap() {
            let _ = rate.take(Key { own: SHARED + own, around: 1 });
        }
        assert!(rate.limiter.len() <= MAX_KEYS + 1, "one network is one place");
        let mut passed = 0;
        for own in 0..1_000 {
            passed += u32::from(rate.take(Key { own: u64::MAX / 2 + own, around: 1 }).is_ok());
        }
        assert!(passed <= 2, "{passed} new addresses of one network came in");
        rate.take(Key { own: 5, around: 9 }).unwrap();
    }

    #[test]
    fn networks() {
        let count_as_one = |a: &str, b: &str| same_network(a.parse().unwrap(), b.parse().unwrap());
        assert!(count_as_one("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!count_as_one("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(count_as_one("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!count_as_one("192.0.2.1", "192.0.2.2"));
    }
}
