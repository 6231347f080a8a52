//! How far the index is: what made it, by which rules, and the place where going through what was written before stands.
//!
//! A run goes through the channels by rising id, and through each from its newest message to its oldest. Its place is kept after each
//! page, so that a run that was interrupted goes on there; what was indexed twice is the same as once.
//!
//! Owns: the order of a run. Must not: call the host.

use patchbay_sdk::{ChannelId, MessageId, Timestamp};
use serde::{Deserialize, Serialize};

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// What makes the vectors.
    pub embedder: String,
    /// Where they are.
    pub collection: String,
    /// How many numbers a vector has; 0 until there was one.
    pub dimensions: u32,
    /// What is left out, as [`crate::policy::Policy::rules`] says it.
    pub rules: String,
    /// Which run this is, from 1. What is indexed carries it, so that what an earlier run left behind can be told.
    pub run: u64,
    /// Where the run stands.
    pub place: Place,
    /// How many channels there were when it began.
    pub channels: u64,
    /// How many of them are done.
    pub channels_done: u64,
    /// How many messages were looked at.
    pub messages: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it had gone through everything.
    pub finished_at: Option<Timestamp>,
    /// Why it does not go on at this moment.
    pub error: Option<String>,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Before the first channel with an id above this one.
    Between {
        /// The last one that is done; 0 before the first.
        after: ChannelId,
    },
    /// In a channel.
    Within {
        /// Which.
        channel: ChannelId,
        /// The messages from this one on are done.
        before: Option<MessageId>,
    },
    /// Nothing is left.
    End,
}

impl Ledger {
    /// The next channel is this one; none: there is none any more.
    pub fn enter(&mut self, channel: Option<ChannelId>, now: Timestamp) {
        self.place = match channel {
            Some(channel) => Place::Within { channel, before: None },
            None => Place::End,
        };
        if channel.is_none() {
            self.finished_at = Some(now);
            self.channels_done = self.channels;
        }
    }

    /// So many messages of the channel are done; the oldest of them if there are more.
    pub fn turn_page(&mut self, messages: u64, oldest: Option<MessageId>) {
        self.messages += messages;
        let Place::Within { channel, .. } = self.place else { return };
        self.place = match oldest {
            Some(oldest) => Place::Within { channel, before: Some(oldest) },
            None => {
                self.channels_done += 1;
                Place::Between { after: channel }
            }
        };
    }

    /// Whether everything is indexed.
    pub fn is_finished(&self) -> bool {
        self.place == Place::End
    }
}

/// How many of a page's messages, the newest first, are indexed with it: the rest is needed to know what was said before them, and
/// comes again with the next page.
pub fn part_of_page(length: usize, asked: usize, look_back: usize) -> usize {
    if length < asked { length } else { length.saturating_sub(look_back).max(1) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn new(channels: u64) -> Ledger {
        Ledger {
            embedder: "lexical".to_owned(),
            collection: "m-1".to_owned(),
            dimensions: 0,
            rules: String::new(),
            run: 1,
            place: Place::Between { after: 0 },
            channels,
            channels_done: 0,
            messages: 0,
            started_at: 1,
            finished_at: None,
            error: None,
        }
    }

    /// One page or one channel; what was indexed. As the plugin does it, in a world of channels and their messages.
    fn step(
        ledger: &mut Ledger,
        world: &BTreeMap<u64, Vec<u64>>,
        asked: usize,
        look_back: usize,
    ) -> Vec<u64> {
        match ledger.place.clone() {
            Place::End => Vec::new(),
            Place::Between { after } => {
                ledger.enter(world.keys().copied().find(|id| *id > after), 2);
                Vec::new()
            }
            Place::Within { channel, before } => {
                let of_it = world.get(&channel).into_iter().flatten().rev().copied();
                let page: Vec<u64> =
                    of_it.filter(|id| before.is_none_or(|before| *id < before)).take(asked).collect();
                let part = part_of_page(page.len(), asked, look_back);
                let done = page[..part].to_vec();
                let oldest = if page.len() < asked { None } else { done.last().copied() };
                ledger.turn_page(part as u64, oldest);
                done
            }
        }
    }

    #[test]
    fn a_page_leaves_what_the_next_one_needs() {
        assert_eq!(part_of_page(200, 200, 20), 180);
        assert_eq!(part_of_page(199, 200, 20), 199, "the last one");
        assert_eq!(part_of_page(0, 200, 20), 0);
        assert_eq!(part_of_page(5, 5, 20), 1, "it goes on");
    }

    proptest! {
        /// However often it is killed before it could write down its place, every message is indexed, and it ends.
        #[test]
        fn nothing_is_left_out(
            world in prop::collection::btree_map(1_u64..9, prop::collection::btree_set(1_u64..200, 0..40), 0..5),
            kills in prop::collection::vec(prop::bool::weighted(0.3), 60),
            (asked, look_back) in (1_usize..12, 0_usize..6),
        ) {
            let world: BTreeMap<u64, Vec<u64>> =
                world.into_iter().map(|(channel, ids)| (channel, ids.into_iter().collect())).collect();
            let mut kept = new(world.len() as u64);
            let mut indexed = BTreeSet::new();
            let mut kills = kills.into_iter();
            for _ in 0..5_000 {
                let mut ledger = kept.clone();
                let channel = kept.place.clone();
                for id in step(&mut ledger, &world, asked, look_back) {
                    indexed.insert((format!("{channel:?}").split(',').next().unwrap_or_default().to_owned(), id));
                }
                if !kills.next().unwrap_or(false) {
                    // What is kept is what a restart reads.
                    kept = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
                }
                if kept.is_finished() {
                    break;
                }
            }
            prop_assert!(kept.is_finished());
            prop_assert_eq!(kept.finished_at, Some(2));
            prop_assert_eq!(kept.channels_done, kept.channels);
            let all: usize = world.values().map(Vec::len).sum();
            prop_assert_eq!(indexed.len(), all);
            prop_assert_eq!(kept.messages, all as u64, "a page that was lost is not counted");
        }
    }
}
