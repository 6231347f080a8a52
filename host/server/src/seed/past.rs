//! Who there was, where, and when.

use std::time::Duration;

use fastrand::Rng;
use patchbay_core::{ChannelId, MessageId, Role, Status, Timestamp, UserId};
use patchbay_store::{PastChannel, PastMember, PastUser};

use super::words;

/// Messages of each channel between which read marks lie.
const RECENT: usize = 40;

fn id(n: usize) -> i64 {
    i64::try_from(n + 1).unwrap_or(i64::MAX)
}

/// The people.
pub struct People(Vec<(Status, Timestamp, Timestamp)>);

impl People {
    pub fn new(rng: &mut Rng, count: u64, begin: Timestamp, now: Timestamp) -> Self {
        let person = |n: u64| {
            let status = match rng.u8(..10) {
                0..6 => Status::Online,
                6..8 => Status::Away,
                8 => Status::Busy,
                _ => Status::Offline,
            };
            let last_seen = now.minus(Duration::from_secs(rng.u64(1..7 * 24 * 3600)));
            // All came before the first message.
            (status, last_seen, begin.minus(Duration::from_secs((count - n) * 60)))
        };
        Self((0..count).map(person).collect())
    }

    pub fn username(&self, user: UserId) -> String {
        words::username(usize::try_from(user.0 - 1).unwrap_or(0))
    }

    pub fn rows(&self, hash: &str) -> Vec<PastUser> {
        let row = |(n, (status, last_seen, created_at)): (usize, &(Status, Timestamp, Timestamp))| PastUser {
            id: UserId(id(n)),
            username: words::username(n),
            full_name: words::full_name(n),
            hashed_password: hash.to_owned(),
            is_superuser: n == 0,
            status: *status,
            last_seen: *last_seen,
            created_at: *created_at,
        };
        self.0.iter().enumerate().map(row).collect()
    }
}

/// A channel, its people, and the end of what was said there.
pub struct Place {
    row: PastChannel,
    people: Vec<UserId>,
    recent: Vec<MessageId>,
}

/// Channels: the first one has everybody; of the others some are private and some are direct messages.
pub fn places(rng: &mut Rng, count: u64, users: u64, begin: Timestamp) -> Vec<Place> {
    let users = usize::try_from(users).unwrap_or(usize::MAX);
    let mut pairs = std::collections::HashSet::new();
    let mut named = 0;
    let mut place = |n: usize| {
        let created_at = begin.minus(Duration::from_secs(3600)).plus(Duration::from_secs(n as u64 % 3600));
        let pair = (n % 5 == 4 && users > 1).then(|| {
            let (one, other) = (words::zipf(rng, users), rng.usize(..users - 1));
            let other = if other >= one { other + 1 } else { other };
            (one.min(other), one.max(other))
        });
        // One per pair: if they have one already, this is a channel like the others.
        if let Some((one, other)) = pair.filter(|pair| pairs.insert(*pair)) {
            let people = vec![UserId(id(one)), UserId(id(other))];
            let row = PastChannel {
                id: ChannelId(id(n)),
                name: String::new(),
                description: None,
                is_public: false,
                dm_key: Some(format!("{},{}", id(one), id(other))),
                created_by: UserId(id(one)),
                created_at,
            };
            return Place { row, people, recent: Vec::new() };
        }
        let (name, purpose) = words::channel(named);
        named += 1;
        let size = if n == 0 { users } else { (users / (1 + words::zipf(rng, 12))).clamp(1, 500) };
        let mut people: Vec<usize> =
            if size == users { (0..users).collect() } else { rng.choose_multiple(0..users, size) };
        rng.shuffle(people.as_mut_slice());
        let people: Vec<UserId> = people.into_iter().map(|n| UserId(id(n))).collect();
        let row = PastChannel {
            id: ChannelId(id(n)),
            name,
            description: Some(purpose),
            is_public: n == 0 || n % 7 != 3,
            dm_key: None,
            created_by: people.first().copied().unwrap_or(UserId(1)),
            created_at,
        };
        Place { row, people, recent: Vec::new() }
    };
    (0..usize::try_from(count).unwrap_or(usize::MAX)).map(&mut place).collect()
}

impl Place {
    pub fn row(&self) -> PastChannel {
        self.row.clone()
    }

    pub fn id(&self) -> ChannelId {
        self.row.id
    }

    /// Some talk more than others.
    pub fn somebody(&self, rng: &mut Rng) -> UserId {
        self.people.get(words::zipf(rng, self.people.len())).copied().unwrap_or(UserId(1))
    }

    pub fn said(&mut self, message: MessageId) {
        if self.recent.len() >= RECENT {
            self.recent.remove(0);
        }
        self.recent.push(message);
    }

    /// The members: whoever made it owns it, and most have read everything.
    pub fn members(&self, rng: &mut Rng) -> Vec<PastMember> {
        let everything = self.recent.last().copied().unwrap_or(MessageId(0));
        let member = |(n, user): (usize, &UserId)| PastMember {
            channel: self.row.id,
            user: *user,
            role: match n {
                _ if self.row.dm_key.is_some() => Role::Member,
                0 => Role::Owner,
                1 => Role::Admin,
                _ => Role::Member,
            },
            last_read: match rng.u8(..10) {
                0..7 => everything,
                _ => rng.choice(self.recent.iter().copied()).unwrap_or(everything),
            },
            joined_at: self.row.created_at,
        };
        self.people.iter().enumerate().map(member).collect()
    }
}

/// When the `n`th of `total` was said: most between nine and half past six.
pub fn moment(begin: Timestamp, span: Duration, n: u64, total: u64) -> Timestamp {
    const DAY: f64 = 86_400_000.0;
    let days = span.as_millis() as f64 / DAY;
    let at = days * (n + 1) as f64 / total.max(1) as f64;
    let (day, share) = (at.floor(), at.fract());
    // A tenth of a day's messages until nine, eight until half past six, and the rest after that.
    let hour = match share {
        ..0.1 => share / 0.1 * 9.0,
        ..0.9 => 9.0 + (share - 0.1) / 0.8 * 9.5,
        _ => 18.5 + (share - 0.9) / 0.1 * 5.5,
    };
    begin.plus(Duration::from_millis((day * DAY + hour * 3_600_000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_only_goes_forward() {
        let (begin, span) = (Timestamp(0), Duration::from_secs(90 * 86_400));
        let moments: Vec<_> = (0..10_000).map(|n| moment(begin, span, n, 10_000)).collect();
        assert!(moments.is_sorted());
        assert_eq!(moments.last(), Some(&begin.plus(span)));
    }
}
