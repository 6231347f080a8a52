//! Which of those who are here share a channel, and so are told of each other's presence.
//!
//! A channel with very many members who are here is a *crowd*: it tells nobody of presence, since each coming and going
//! would be told to all of them, which grows with the square of the members. What a user was told has to stay true when
//! channels become crowds or cease to be, and when the last channel that two share goes away; every change here says
//! what follows from it.
//!
//! Owns: these memberships and that rule. Must not: know sockets, or what anybody shows.

use std::collections::{HashMap, HashSet};

use patchbay_core::{ChannelId, UserId};

/// What has to be told after a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub enum Shift {
    /// Nothing.
    #[default]
    None,
    /// These pairs are no longer told of each other.
    Parted(Vec<(UserId, UserId)>),
    /// So much has changed for these that they need to be told afresh who is here.
    Afresh(Vec<UserId>),
}

/// Members who are here, by channel and the other way round.
#[derive(Debug)]
pub struct Members {
    /// A channel with more members here than this is a crowd.
    bound: usize,
    here: HashMap<ChannelId, HashSet<UserId>>,
    channels: HashMap<UserId, HashSet<ChannelId>>,
    crowds: HashSet<ChannelId>,
}

/// Members of a deleted channel who are told one by one that they have parted: the pairs grow with the square.
const FEW: usize = 32;

impl Members {
    /// Nobody is here yet.
    pub fn new(bound: usize) -> Self {
        Self { bound, here: HashMap::new(), channels: HashMap::new(), crowds: HashSet::new() }
    }

    /// A user is here from now on, who is a member of these channels.
    pub fn arrive(&mut self, user: UserId, channels: Vec<ChannelId>) -> Shift {
        let mut afresh = Vec::new();
        for channel in &channels {
            afresh.extend(self.insert(*channel, user));
        }
        self.channels.insert(user, channels.into_iter().collect());
        afresh_of(afresh)
    }

    /// A user is no longer here.
    pub fn depart(&mut self, user: UserId) -> Shift {
        let mut afresh = Vec::new();
        for channel in self.channels.remove(&user).unwrap_or_default() {
            self.delete_from(channel, user);
            // A crowd ceases to be one some way below the bound, so that comings and goings around it cost little.
            afresh.extend(self.disperse(channel, self.bound - self.bound / 4));
        }
        afresh_of(afresh)
    }

    /// A user has joined a channel. Nothing, if the user isn't here.
    pub fn join(&mut self, channel: ChannelId, user: UserId) -> Shift {
        let Some(channels) = self.channels.get_mut(&user) else { return Shift::None };
        channels.insert(channel);
        afresh_of(self.insert(channel, user))
    }

    /// A user, here or not, has left a channel or was removed from it.
    pub fn leave(&mut self, channel: ChannelId, user: UserId) -> Shift {
        if let Some(channels) = self.channels.get_mut(&user) {
            channels.remove(&channel);
        }
        let was_here = self.delete_from(channel, user);
        if self.crowds.contains(&channel) {
            // Exactly at the bound: the snapshot counts all members, of whom there may now be as few.
            return afresh_of(self.disperse(channel, self.bound));
        }
        if !was_here {
            return Shift::None;
        }
        let known = self.acquaintances(user);
        let parted = self.of(channel).filter(|other| !known.contains(other));
        parted_of(parted.map(|other| (user, other)).collect())
    }

    /// A channel is gone.
    pub fn delete(&mut self, channel: ChannelId) -> Shift {
        let mut users: Vec<UserId> = self.here.remove(&channel).unwrap_or_default().into_iter().collect();
        users.sort_unstable();
        for user in &users {
            if let Some(channels) = self.channels.get_mut(user) {
                channels.remove(&channel);
            }
        }
        if self.crowds.remove(&channel) {
            return Shift::None;
        }
        if users.len() > FEW {
            return Shift::Afresh(users);
        }
        let mut parted = Vec::new();
        for (n, user) in users.iter().enumerate() {
            let known = self.acquaintances(*user);
            let others = users.iter().skip(n + 1).filter(|other| !known.contains(other));
            parted.extend(others.map(|other| (*user, *other)));
        }
        parted_of(parted)
    }

    /// The members of a channel who are here.
    pub fn of(&self, channel: ChannelId) -> impl Iterator<Item = UserId> {
        self.here.get(&channel).into_iter().flatten().copied()
    }

    /// Those in a channel who are told of each other's presence; nobody in a crowd.
    pub fn acquainted(&self, channel: ChannelId) -> impl Iterator<Item = UserId> {
        let is_crowd = self.crowds.contains(&channel);
        self.of(channel).take_while(move |_| !is_crowd)
    }

    /// Those whom a user is told of, and who are told of the user.
    pub fn acquaintances(&self, user: UserId) -> HashSet<UserId> {
        let channels = self.channels.get(&user).into_iter().flatten();
        let mut users: HashSet<UserId> = channels.flat_map(|channel| self.acquainted(*channel)).collect();
        users.remove(&user);
        users
    }

    /// Puts a member in; those who were told of each other there until now, if it has become a crowd by that.
    fn insert(&mut self, channel: ChannelId, user: UserId) -> Vec<UserId> {
        let users = self.here.entry(channel).or_default();
        users.insert(user);
        if users.len() > self.bound && self.crowds.insert(channel) {
            return users.iter().copied().filter(|other| *other != user).collect();
        }
        Vec::new()
    }

    fn delete_from(&mut self, channel: ChannelId, user: UserId) -> bool {
        let Some(users) = self.here.get_mut(&channel) else { return false };
        let was_here = users.remove(&user);
        if users.is_empty() {
            self.here.remove(&channel);
        }
        was_here
    }

    /// Those who are told of each other from now on, if a crowd has come down to so many.
    fn disperse(&mut self, channel: ChannelId, most: usize) -> Vec<UserId> {
        let left = self.here.get(&channel).map_or(0, HashSet::len);
        if left <= most && self.crowds.remove(&channel) { self.of(channel).collect() } else { Vec::new() }
    }
}

fn afresh_of(mut users: Vec<UserId>) -> Shift {
    users.sort_unstable();
    users.dedup();
    if users.is_empty() { Shift::None } else { Shift::Afresh(users) }
}

fn parted_of(pairs: Vec<(UserId, UserId)>) -> Shift {
    if pairs.is_empty() { Shift::None } else { Shift::Parted(pairs) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const GENERAL: ChannelId = ChannelId(1);
    const SECRET: ChannelId = ChannelId(2);

    fn here(bound: usize, users: i64) -> Members {
        let mut members = Members::new(bound);
        for user in 1..=users {
            assert_eq!(members.arrive(UserId(user), vec![GENERAL]), Shift::None);
        }
        members
    }

    fn ids(users: impl IntoIterator<Item = i64>) -> Vec<UserId> {
        users.into_iter().map(UserId).collect()
    }

    #[test]
    fn who_leaves_the_last_common_channel_parts_from_the_others() {
        let mut members = here(10, 3);
        let _ = members.join(SECRET, UserId(1));
        let _ = members.join(SECRET, UserId(2));
        assert_eq!(members.leave(GENERAL, UserId(1)), Shift::Parted(vec![(UserId(1), UserId(3))]));
        assert_eq!(members.delete(SECRET), Shift::Parted(vec![(UserId(1), UserId(2))]));
        assert_eq!(members.leave(GENERAL, UserId(1)), Shift::None, "not twice");
    }

    #[test]
    fn a_channel_becomes_a_crowd_and_ceases_to_be_one() {
        let mut members = here(4, 4);
        assert_eq!(members.acquaintances(UserId(1)).len(), 3);
        assert_eq!(members.arrive(UserId(5), vec![GENERAL]), Shift::Afresh(ids(1..=4)));
        assert_eq!(members.acquaintances(UserId(1)).len(), 0);
        assert_eq!(members.depart(UserId(5)), Shift::None, "it may soon be as large again");
        assert_eq!(members.arrive(UserId(5), vec![GENERAL]), Shift::None);
        assert_eq!(members.depart(UserId(5)), Shift::None);
        assert_eq!(members.depart(UserId(4)), Shift::Afresh(ids(1..=3)));
        assert_eq!(members.acquaintances(UserId(1)).len(), 2);
    }

    #[test]
    fn a_removal_ends_a_crowd_at_the_bound() {
        let mut members = here(4, 4);
        let _ = members.arrive(UserId(5), vec![GENERAL]);
        let _ = members.depart(UserId(5));
        assert_eq!(members.leave(GENERAL, UserId(5)), Shift::Afresh(ids(1..=4)), "also of who is away");
    }

    #[test]
    fn a_large_channel_that_is_deleted_is_told_at_once() {
        let mut members = here(100, 40);
        assert_eq!(members.delete(GENERAL), Shift::Afresh(ids(1..=40)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(i64),
        Depart(i64),
        Join(i64, i64),
        Leave(i64, i64),
        Delete(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (user, channel) = (0..7_i64, 0..4_i64);
        prop_oneof![
            3 => user.clone().prop_map(Step::Arrive),
            1 => user.clone().prop_map(Step::Depart),
            3 => (channel.clone(), user.clone()).prop_map(|(channel, user)| Step::Join(channel, user)),
            2 => (channel.clone(), user).prop_map(|(channel, user)| Step::Leave(channel, user)),
            1 => channel.prop_map(Step::Delete),
        ]
    }

    /// What the router does with it: each user's view of who is here, by what the user has been told.
    #[derive(Default)]
    struct World {
        of: BTreeMap<i64, HashSet<i64>>,
        views: BTreeMap<UserId, HashSet<UserId>>,
    }

    impl World {
        fn apply(&mut self, members: &Members, shift: Shift) {
            match shift {
                Shift::None => {}
                Shift::Parted(pairs) => {
                    for (one, other) in pairs {
                        self.views.get_mut(&one).map(|view| view.remove(&other));
                        self.views.get_mut(&other).map(|view| view.remove(&one));
                    }
                }
                Shift::Afresh(users) => {
                    for user in users {
                        self.views.insert(user, members.acquaintances(user));
                    }
                }
            }
        }

        fn meet(&mut self, user: UserId, others: impl IntoIterator<Item = UserId>) {
            for other in others.into_iter().filter(|other| *other != user) {
                self.views.get_mut(&other).map(|view| view.insert(user));
                self.views.get_mut(&user).map(|view| view.insert(other));
            }
        }

        fn take(&mut self, members: &mut Members, step: &Step) {
            let shift = match *step {
                Step::Arrive(user) if self.views.contains_key(&UserId(user)) => return,
                Step::Arrive(user) => {
                    let mine = self.of.iter().filter(|(_, users)| users.contains(&user));
                    let mine = mine.map(|(channel, _)| ChannelId(*channel)).collect();
                    self.views.insert(UserId(user), HashSet::new());
                    members.arrive(UserId(user), mine)
                }
                Step::Depart(user) => {
                    self.views.remove(&UserId(user));
                    for view in self.views.values_mut() {
                        view.remove(&UserId(user));
                    }
                    members.depart(UserId(user))
                }
                Step::Join(channel, user) => {
                    self.of.entry(channel).or_default().insert(user);
                    members.join(ChannelId(channel), UserId(user))
                }
                Step::Leave(channel, user) => {
                    self.of.entry(channel).or_default().remove(&user);
                    members.leave(ChannelId(channel), UserId(user))
                }
                Step::Delete(channel) => {
                    self.of.remove(&channel);
                    members.delete(ChannelId(channel))
                }
            };
            self.apply(members, shift);
            match *step {
                Step::Arrive(user) => self.meet(UserId(user), members.acquaintances(UserId(user))),
                Step::Join(channel, user) if self.views.contains_key(&UserId(user)) => {
                    self.meet(UserId(user), members.acquainted(ChannelId(channel)).collect::<Vec<_>>());
                }
                _ => {}
            }
        }

        /// Whether two share a channel that is not a crowd, from what everybody is a member of.
        fn share(&self, members: &Members, one: UserId, other: UserId) -> bool {
            self.of.iter().any(|(channel, users)| {
                users.contains(&one.0)
                    && users.contains(&other.0)
                    && !members.crowds.contains(&ChannelId(*channel))
            })
        }
    }

    proptest! {
        #[test]
        fn what_everybody_was_told_stays_true(steps in prop::collection::vec(step(), 1..80)) {
            let mut members = Members::new(4);
            let mut world = World::default();
            for step in &steps {
                world.take(&mut members, step);
                for (user, view) in &world.views {
                    let others = world.views.keys().filter(|other| *other != user);
                    let expected: HashSet<UserId> =
                        others.filter(|other| world.share(&members, *user, **other)).copied().collect();
                    prop_assert_eq!(view, &expected, "{:?} after {:?}", user, step);
                }
                for (channel, users) in &members.here {
                    prop_assert!(users.len() <= 4 || members.crowds.contains(channel));
                    prop_assert!(users.len() > 3 || !members.crowds.contains(channel));
                }
            }
        }
    }
}
