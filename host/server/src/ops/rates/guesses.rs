//! Guessing passwords: waits that grow with each failure and end with a success.
//!
//! Failures are counted in four places, and an attempt needs leave in each:
//!
//! - **account and address**: after `limits.login_failures` wrong passwords the next attempt waits 1 s, then 2, 4, up
//!   to `limits.login_wait`. Nobody else waits: a stranger who guesses locks himself out, and the owner comes in from
//!   any other address as if nothing had happened.
//! - **address**, over all accounts, with ten times as many failures free, against trying one password on many
//!   accounts. A success does not end it, or an attacker would log in to an account of his own between guesses.
//! - **account**, over all addresses of a network (IPv4 /16, IPv6 /32), against many addresses that guess together. A
//!   hundred failures are free, and no wait is longer than 30 s: 3,000 guesses a day get nowhere, and the owner elsewhere
//!   does not notice. Over all networks together ten thousand are free, so that it takes a crowd all over the world to
//!   make everybody wait those 30 s. An address
//!   from which the account has a session is not asked: the owner at his desk notices nothing. What is refused
//!   in the places above is not counted here, so that one address can't make the account wait for others.
//!
//! The account is the name that was typed, folded, whether or not it exists: waiting tells nobody which names do.
//! An attempt counts before the password is looked at, and is taken back if it was right: hanging up early or
//! guessing in parallel gains nothing.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use patchbay_core::UserId;

use super::{MAX_KEYS, SHARED, network};
use crate::{
    config,
    ops::{Error, Result},
};

/// How much more an address may fail over all accounts than with one.
const ADDRESS_FACTOR: u32 = 10;
/// Failures of an account over all addresses of a network (IPv4 /16, IPv6 /32) before attempts from there wait.
const ACCOUNT_FREE: u32 = 100;
/// How much more it may fail over all networks than from one.
const NETWORKS: u32 = 100;
/// The longest wait for those.
const ACCOUNT_WAIT: Duration = Duration::from_secs(30);
/// Failures are forgotten when none has been added for this long.
const MEMORY: Duration = Duration::from_secs(86_400);
/// A full table is searched for what it can forget at most this often.
const SWEEP: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(in crate::ops) struct Guesses {
    secret: std::hash::RandomState,
    free: u32,
    longest: Duration,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    failed: HashMap<u64, Failed>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    count: u32,
    last: Instant,
}

/// A place where failures are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    key: u64,
    /// Where it is counted when the table is full.
    around: u64,
    free: u32,
    longest: Duration,
    /// Whether a success ends the count.
    ends: bool,
}

/// An attempt that was let in and counts as failed until it is told otherwise.
#[derive(Debug)]
#[must_use]
pub(in crate::ops) struct Attempt<'a> {
    guesses: &'a Guesses,
    places: Vec<Place>,
}

impl Attempt<'_> {
    /// The password was right.
    pub(in crate::ops) fn succeeded(self) {
        self.guesses.change(&self.places, |place, failed| {
            if place.ends {
                failed.count = 0;
            } else {
                failed.count = failed.count.saturating_sub(1);
            }
        });
    }

    /// The password was not looked at.
    pub(in crate::ops) fn undecided(self) {
        self.guesses.change(&self.places, |_, failed| failed.count = failed.count.saturating_sub(1));
    }
}

impl Guesses {
    pub(super) fn new(limits: &config::Limits) -> Self {
        Self {
            secret: std::hash::RandomState::new(),
            free: limits.login_failures.0.get(),
            longest: limits.login_wait,
            table: Mutex::new(Table { failed: HashMap::new(), swept: None }),
        }
    }

    /// An attempt to log in. `is_known` says whether the account has a session from that address; it is asked only
    /// if that decides.
    pub(in crate::ops) async fn login<F: Future<Output = Result<bool>>>(
        &self,
        login: &str,
        from: IpAddr,
        is_known: impl FnOnce() -> F,
    ) -> Result<Attempt<'_>> {
        let account = login.to_lowercase();
        let (network, around) = network(from);
        let place = |key, around, free, longest, ends| Place { key, around, free, longest, ends };
        let hash = |what: &str, name: &str, at: u64| self.secret.hash_one((what, name, at));
        let own = [
            place(hash("pair", &account, network), hash("pair", "", around), self.free, self.longest, true),
            place(
                hash("address", "", network),
                hash("address", "", around),
                self.free.saturating_mul(ADDRESS_FACTOR),
                self.longest,
                false,
            ),
        ];
        let longest = ACCOUNT_WAIT.min(self.longest);
        let (nearby, whole) = (hash("account", &account, around), hash("account", &account, 0));
        let nearby = place(nearby, nearby, ACCOUNT_FREE, longest, true);
        let whole = place(whole, whole, ACCOUNT_FREE * NETWORKS, longest, true);
        let now = Instant::now();
        match self.attempt(&[own[0], own[1], nearby, whole], now) {
            Ok(attempt) => Ok(attempt),
            // If only the account as a whole has to wait, whoever is known doesn't.
            Err(_) if self.wait(&own, now).is_zero() && is_known().await? => {
                self.attempt(&own, now).map_err(Error::TooMany)
            }
            Err(wait) => Err(Error::TooMany(wait)),
        }
    }

    /// An attempt to prove, as a user who is logged in, to know the password: for who holds a stolen token.
    pub(in crate::ops) fn present_password(&self, user: UserId) -> Result<Attempt<'_>> {
        let key = self.secret.hash_one(("user", user.0));
        let place = Place { key, around: key, free: self.free, longest: self.longest, ends: true };
        self.attempt(&[place], Instant::now()).map_err(Error::TooMany)
    }

    /// Lets in an attempt that none of the places lets wait, and counts it; otherwise counts nothing and says how
    /// long to wait.
    fn attempt(&self, places: &[Place], now: Instant) -> std::result::Result<Attempt<'_>, Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (places, wait) = table.look(places, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        for place in &places {
            let failed = table.failed.entry(place.key).or_insert(Failed { count: 0, last: now });
            if now.saturating_duration_since(failed.last) > MEMORY {
                failed.count = 0;
            }
            *failed = Failed { count: failed.count.saturating_add(1), last: now };
        }
        Ok(Attempt { guesses: self, places })
    }

    /// How long an attempt would have to wait.
    fn wait(&self, places: &[Place], now: Instant) -> Duration {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).look(places, now).1
    }

    fn change(&self, places: &[Place], change: impl Fn(&Place, &mut Failed)) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for place in places {
            if let Some(failed) = table.failed.get_mut(&place.key) {
                change(place, failed);
                if failed.count == 0 {
                    table.failed.remove(&place.key);
                }
            }
        }
    }
}

impl Table {
    /// Where these are counted, and how long the longest wait is.
    fn look(&mut self, places: &[Place], now: Instant) -> (Vec<Place>, Duration) {
        let is_full = self.is_full(now);
        let is_shared = |place: &Place| is_full && !self.failed.contains_key(&place.key);
        let places: Vec<Place> = places
            .iter()
            .map(
                |place| {
                    if is_shared(place) { Place { key: place.around % SHARED, ..*place } } else { *place }
                },
            )
            .collect();
        let wait = places.iter().map(|place| self.wait(place, now)).max().unwrap_or_default();
        (places, wait)
    }

    fn wait(&self, place: &Place, now: Instant) -> Duration {
        let Some(failed) = self.failed.get(&place.key) else { return Duration::ZERO };
        let since = now.saturating_duration_since(failed.last);
        if failed.count < place.free || since > MEMORY {
            return Duration::ZERO;
        }
        let doublings = (failed.count - place.free).min(20);
        Duration::from_secs(1 << doublings).min(place.longest).saturating_sub(since)
    }

    fn is_full(&mut self, now: Instant) -> bool {
        if self.failed.len() < MAX_KEYS {
            return false;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) > SWEEP) {
            self.swept = Some(now);
            self.failed.retain(|_, failed| now.saturating_duration_since(failed.last) <= MEMORY);
        }
        self.failed.len() >= MAX_KEYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesses() -> Guesses {
        Guesses {
            secret: std::hash::RandomState::new(),
            free: 5,
            longest: Duration::from_secs(900),
            table: Mutex::new(Table { failed: HashMap::new(), swept: None }),
        }
    }

    fn place(key: u64) -> Place {
        Place { key, around: key, free: 5, longest: Duration::from_secs(900), ends: true }
    }

    fn fail(guesses: &Guesses, places: &[Place], now: Instant) -> Duration {
        match guesses.attempt(places, now) {
            Ok(_) => Duration::ZERO,
            Err(wait) => wait,
        }
    }

    #[test]
    fn waits_grow_to_a_bound_and_a_success_ends_them() {
        let (guesses, mut now) = (guesses(), Instant::now());
        for _ in 0..5 {
            assert_eq!(fail(&guesses, &[place(1)], now), Duration::ZERO);
        }
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let expected = Duration::from_secs(expected);
            assert_eq!(fail(&guesses, &[place(1)], now), expected);
            assert_eq!(fail(&guesses, &[place(1)], now), expected, "a refused attempt does not count");
            now += expected;
            assert_eq!(fail(&guesses, &[place(1)], now), Duration::ZERO, "the wait is over");
        }
        now += Duration::from_secs(900);
        guesses.attempt(&[place(1)], now).unwrap().succeeded();
        for _ in 0..5 {
            assert_eq!(fail(&guesses, &[place(1)], now), Duration::ZERO);
        }
        assert!(fail(&guesses, &[place(1)], now + MEMORY + Duration::from_secs(1)).is_zero());
    }

    #[test]
    fn what_was_not_decided_does_not_count() {
        let (guesses, now) = (guesses(), Instant::now());
        for _ in 0..50 {
            guesses.attempt(&[place(1)], now).unwrap().undecided();
        }
        assert!(guesses.table.lock().unwrap().failed.is_empty());
    }

    #[test]
    fn a_full_table_lets_nobody_in_uncounted() {
        let (guesses, now) = (guesses(), Instant::now());
        for key in 0..u64::try_from(MAX_KEYS).unwrap() {
            let _ = fail(&guesses, &[place(SHARED + key)], now);
        }
        let let_in = (0..1_000u64)
            .filter(|n| fail(&guesses, &[Place { around: 7, ..place(u64::MAX - n) }], now).is_zero())
            .count();
        assert_eq!(let_in, 5);
        assert!(guesses.table.lock().unwrap().failed.len() <= MAX_KEYS + 1);
    }

    #[tokio::test]
    async fn a_stranger_locks_out_nobody_but_himself() {
        let guesses = guesses();
        let (stranger, owner) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
        let never = || async { panic!("nobody had to be asked") };
        for _ in 0..5 {
            let _ = guesses.login("Ann", stranger, never).await.unwrap();
        }
        assert!(matches!(guesses.login("ann", stranger, never).await, Err(Error::TooMany(_))));
        guesses.login("ann", owner, never).await.unwrap().succeeded();
        assert!(matches!(guesses.login("ANN", stranger, never).await, Err(Error::TooMany(_))));
        guesses.login("bob", stranger, never).await.unwrap().succeeded();
    }

    #[tokio::test]
    async fn many_addresses_wait_together_and_a_known_one_does_not() {
        let guesses = guesses();
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        for n in 0..100 {
            let _ = guesses.login("ann", address(n), || async { Ok(false) }).await.unwrap();
        }
        let Err(Error::TooMany(wait)) = guesses.login("ann", address(200), || async { Ok(false) }).await
        else {
            panic!("the hundred and first address got in");
        };
        assert!(wait <= ACCOUNT_WAIT);
        guesses.login("ann", address(200), || async { Ok(true) }).await.unwrap().succeeded();
        for _ in 0..49 {
            let _ = guesses.login("x", address(201), || async { Ok(false) }).await;
        }
        guesses.login("bob", address(202), || async { Ok(false) }).await.unwrap().succeeded();
    }

    #[tokio::test]
    async fn one_password_on_many_accounts_is_one_address_guessing() {
        let guesses = guesses();
        let from = IpAddr::from([192, 0, 2, 1]);
        for n in 0..50 {
            let _ = guesses.login(&format!("user{n}"), from, || async { Ok(false) }).await.unwrap();
        }
        assert!(matches!(
            guesses.login("user50", from, || async { Ok(false) }).await,
            Err(Error::TooMany(_))
        ));
    }
}
