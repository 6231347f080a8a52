//! `limits.*`

use std::{num::NonZeroU32, time::Duration};

use super::{
    declare,
    value::{Switch, Value},
};

declare! {
    /// How much of the server one client can take.
    "limits" => Limits {
        /// Whether the rates of requests, logins and frames are limited; off is for load tests.
        rate: Switch = "on",
        /// Requests per minute from one address (IPv6: one /64), all at once or spread.
        requests_per_address: Count = "30000",
        /// Requests per minute of one user, all at once or spread.
        requests_per_user: Count = "3000",
        /// New accounts per hour from one address.
        registrations_per_address: Count = "600",
        /// Refreshes of tokens per minute from one address.
        refreshes_per_address: Count = "300",
        /// Wrong passwords for one account from one address before it has to wait.
        login_failures: Count = "5",
        /// Longest wait after wrong passwords.
        login_wait: Duration = "15m",
        /// Connections at once; further ones are answered 503.
        connections: Count = "20000",
        /// Connections at once from one address that is not a trusted proxy.
        connections_per_address: Count = "2000",
        /// Sockets of one user at once, over all devices and windows.
        sockets_per_user: Count = "100",
        /// How long the head of a request may take to arrive, from its first byte.
        header_time: Duration = "10s",
        /// How long the body of a request may stand still.
        body_time: Duration = "30s",
        /// How long a request may take, counted from its start or the last byte of its body; not for /api/admin.
        request_time: Duration = "2m",
        /// How long a connection may wait for its next request.
        idle_time: Duration = "75s",
    }
}

impl Limits {
    /// How many sockets a user may have.
    pub fn sockets(&self) -> usize {
        let count = usize::try_from(self.sockets_per_user.0.get()).unwrap_or(usize::MAX);
        if self.limits_rates() { count } else { usize::MAX }
    }

    /// Whether rates are limited.
    pub fn limits_rates(&self) -> bool {
        self.rate == Switch::On
    }
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub NonZeroU32);

impl Value for Count {
    const ALLOWED: &'static str = "a whole number from 1 to 1000000";
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|n: &NonZeroU32| n.get() <= 1_000_000);
        number.map(Self).ok_or_else(|| format!("{text:?} is not allowed; expected {}", Self::ALLOWED))
    }
    fn placeholder() -> Self {
        Self(NonZeroU32::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_bounds() {
        assert_eq!(Count::parse("1").map(|n| n.0.get()), Ok(1));
        assert_eq!(Count::parse("1000000").map(|n| n.0.get()), Ok(1_000_000));
        for text in ["0", "1000001", "-1", "", "1.5", "many"] {
            assert!(Count::parse(text).is_err(), "{text}");
        }
    }
}
