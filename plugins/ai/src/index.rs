//! The index: what waits to be looked at, and how messages get into the collection and out again.
//!
//! An event only puts down which message it was about. A job looks at the messages themselves, so that it does not matter how often or
//! in which order it hears of them; what is there is embedded, what is not is taken out. While a provider can't be reached everything
//! waits.
//!
//! Owns: the queue, vectors and their metadata. Must not: know how vectors are searched.

use std::collections::{BTreeMap, BTreeSet};

use patchbay_sdk::{
    Actor, ChannelId, Entry, Error, Event, MessageId, channels, deployment, from_slice, kv, llm, messages,
    messages::Message,
    scheduler, system,
    vectors::{self, Condition, Item, Value as Datum},
};
use serde::{Deserialize, Serialize};

use crate::{
    backfill,
    ledger::Ledger,
    own_bot,
    passages::{self, LOOK_BACK, Passage},
    policy::Policy,
};

/// Under which stand the messages that wait.
const WAITING: &str = "waiting/";
/// Under which stand the channels that are gone.
const GONE: &str = "gone/";
/// Most messages that are looked at before they are taken off the list.
const AT_ONCE: u32 = 100;
/// How long a job goes on, in ms. Others wait meanwhile, those that answer somebody among them.
pub const PATIENCE: u64 = 5_000;
/// Most rounds of a job, and most numbers of vectors that it moves: a call has a share of the host's work and data.
pub const ROUNDS: usize = 5;
const NUMBERS: usize = 4_000_000;
/// How long after an event its message is indexed, in ms: what comes in a burst is embedded together.
const DELAY: u64 = 1_000;
/// Most texts of one request to a provider.
const BATCH: usize = 64;
/// Most items of one call.
const ITEMS: usize = 100;
/// Most messages that can depend on one: the replies to the beginning of a thread.
const DEPENDENTS: u32 = 200;

/// Why a message waits.
#[derive(Serialize, Deserialize)]
struct Waiting {
    channel: ChannelId,
    root: Option<MessageId>,
    /// It is new: nothing of it is in the index.
    is_new: bool,
    /// The event's number, so that a later event is another value.
    seq: u64,
}

/// Puts down what these events are about.
pub fn note(entries: &[Entry]) -> Result<(), Error> {
    let mut changes = Vec::new();
    for entry in entries {
        let (id, channel, root, is_new) = match entry.event() {
            Event::MessageCreated(message) => (message.id, message.channel_id, message.parent_id, true),
            Event::MessageUpdated(message) => (message.id, message.channel_id, message.parent_id, false),
            Event::MessageDeleted(message) => (message.id, message.channel_id, message.parent_id, false),
            Event::ChannelDeleted(channel) => {
                changes.push(patchbay_sdk::state::put(&format!("{GONE}{channel:020}"), &channel, None)?);
                continue;
            }
            _ => continue,
        };
        let waiting = Waiting { channel, root, is_new, seq: entry.seq };
        changes.push(patchbay_sdk::state::put(&format!("{WAITING}{id:020}"), &waiting, None)?);
    }
    if changes.is_empty() {
        return Ok(());
    }
    kv::commit(None, &changes, &[])?;
    // Jobs of the same second are one; none is put off by those after it.
    let due = (deployment::now() + DELAY).next_multiple_of(DELAY);
    let job = scheduler::Scheduled { id: format!("index/{due}"), payload: String::new(), due };
    if let Err(error) = scheduler::schedule(&job) {
        // `tend` looks at what waits, too.
        patchbay_sdk::warn!("indexing could not be scheduled: {}", error.reason().detail);
    }
    Ok(())
}

/// Looks at what waits, for a while; whether something is left.
pub fn catch_up(policy: &Policy) -> Result<bool, Error> {
    let until = deployment::now() + PATIENCE;
    let mut index = Index::open(policy)?;
    for _ in 0..ROUNDS {
        let gone = kv::scan(GONE, None, AT_ONCE)?;
        let waiting = kv::scan(WAITING, None, AT_ONCE)?;
        if gone.is_empty() && waiting.is_empty() {
            return Ok(false);
        }
        let channels: Vec<ChannelId> =
            gone.iter().filter_map(|entry| from_slice(&entry.value).ok()).collect();
        index.forget_channels(&channels)?;
        let found = waiting.iter().filter_map(|entry| {
            Some((entry.key.strip_prefix(WAITING)?.parse().ok()?, from_slice(&entry.value).ok()?))
        });
        index.look_at(&found.collect())?;
        take_off(gone.iter().chain(&waiting))?;
        if index.is_spent() || deployment::now() >= until {
            break;
        }
    }
    Ok(true)
}

/// How many messages wait, up to a thousand.
pub fn waiting() -> Result<usize, Error> {
    Ok(kv::scan(WAITING, None, 1_000)?.len())
}

/// Takes entries off the list, unless something has happened to them since.
fn take_off<'a>(entries: impl Iterator<Item = &'a kv::Entry>) -> Result<(), Error> {
    let entries: Vec<_> = entries.collect();
    for some in entries.chunks(AT_ONCE as usize) {
        let changes: Vec<_> = some
            .iter()
            .flat_map(|entry| {
                let (key, value) = (entry.key.clone(), Some(entry.value.clone()));
                [kv::Change::Expect(kv::Expectation { key, value }), kv::Change::Delete(entry.key.clone())]
            })
            .collect();
        match kv::commit(None, &changes, &[]) {
            Err(Error::Conflict(_)) => {
                for entry in some {
                    kv::compare_and_swap(&entry.key, Some(&entry.value), None)?;
                }
            }
            done => done?,
        }
    }
    Ok(())
}

/// A message, and the vectors of which passages it needs.
struct Wanted {
    message: Message,
    passages: Vec<Passage>,
}

/// The collection under way.
pub struct Index<'a> {
    policy: &'a Policy,
    /// How far it is.
    pub ledger: Ledger,
    system: Actor,
    bot: Option<u64>,
    /// Whether a channel may be looked at; none: it is not there.
    channels: BTreeMap<ChannelId, bool>,
    roots: BTreeMap<MessageId, Option<Message>>,
    /// How many numbers have been moved.
    numbers: usize,
}

impl<'a> Index<'a> {
    /// The one that this policy and what embeds now make.
    pub fn open(policy: &'a Policy) -> Result<Self, Error> {
        Ok(Self {
            policy,
            ledger: backfill::current(policy)?,
            system: system::get()?,
            bot: own_bot(policy)?,
            channels: BTreeMap::new(),
            roots: BTreeMap::new(),
            numbers: 0,
        })
    }

    /// Whether this call has moved as much as it should.
    pub fn is_spent(&self) -> bool {
        self.numbers >= NUMBERS
    }

    /// Takes everything of these channels out.
    pub fn forget_channels(&self, channels: &[ChannelId]) -> Result<(), Error> {
        if channels.is_empty() {
            return Ok(());
        }
        vectors::delete_where(&self.ledger.collection, &[one_of("channel", channels.iter().copied())])
    }

    /// Whether anything of a channel may be in the index.
    pub fn permits(&mut self, channel: ChannelId) -> Result<bool, Error> {
        if let Some(known) = self.channels.get(&channel) {
            return Ok(*known);
        }
        let permitted = match channels::get(&self.system, channel) {
            Ok(channel) => self.policy.permits(&channel),
            Err(Error::NotFound(_)) => false,
            Err(error) => return Err(error),
        };
        self.channels.insert(channel, permitted);
        Ok(permitted)
    }

    /// Looks at messages of which something was heard.
    fn look_at(&mut self, waiting: &BTreeMap<MessageId, Waiting>) -> Result<(), Error> {
        let mut places: BTreeMap<MessageId, ChannelId> =
            waiting.iter().map(|(id, waiting)| (*id, waiting.channel)).collect();
        let changed: Vec<_> = waiting.iter().filter(|(_, waiting)| !waiting.is_new).collect();
        for (id, waiting) in &changed {
            for dependent in self.dependents(**id, waiting)? {
                places.insert(dependent, waiting.channel);
            }
        }
        let mut wanted = Vec::new();
        for (id, channel) in &places {
            wanted.extend(self.want(*channel, *id)?);
        }
        // What is there is replaced at once; what was there and is not any more goes. A message that has become shorter has
        // fewer passages, one that is gone has none.
        let vectors = self.embed(&wanted)?;
        let has_gone: Vec<_> = changed.iter().map(|(id, _)| **id).collect();
        if !has_gone.is_empty() {
            vectors::delete_where(&self.ledger.collection, &[one_of("message", has_gone.into_iter())])?;
        }
        self.put(&wanted, vectors)
    }

    /// The messages whose passages have a part of this one.
    fn dependents(&self, id: MessageId, waiting: &Waiting) -> Result<BTreeSet<MessageId>, Error> {
        let Some(dimensions) = usize::try_from(self.ledger.dimensions).ok().filter(|number| *number > 0)
        else {
            return Ok(BTreeSet::new());
        };
        // Any vector does: it is the conditions that are asked about.
        let any = vec![1.0; dimensions];
        let conversation = waiting.root.unwrap_or(0);
        let mut found = BTreeSet::new();
        let next = integer(id.saturating_add(1));
        let later =
            [Condition::Below(("first".to_owned(), next)), Condition::AtLeast(("message".to_owned(), next))];
        // Messages of the same conversation, and, if it has a thread, its replies.
        for root in BTreeSet::from([conversation, id]) {
            let mut conditions = vec![
                one_of("channel", [waiting.channel].into_iter()),
                Condition::OneOf(("root".to_owned(), vec![Datum::Integer(integer(root))])),
            ];
            conditions.extend(later.clone());
            let near = vectors::query(&self.ledger.collection, &any, &conditions, DEPENDENTS)?;
            found.extend(near.iter().filter_map(message_of));
        }
        Ok(found)
    }

    /// What a message needs; nothing if it is not there, says nothing or is left out.
    fn want(&mut self, channel: ChannelId, id: MessageId) -> Result<Option<Wanted>, Error> {
        if !self.permits(channel)? {
            return Ok(None);
        }
        let most = u32::try_from(LOOK_BACK + 1).unwrap_or(u32::MAX);
        let found = match messages::list(&self.system, channel, id.checked_add(1), most) {
            Ok(found) => found,
            // It has gone meanwhile.
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        match found.split_first() {
            Some((message, before)) if message.id == id => self.passages_of(message, before),
            _ => Ok(None),
        }
    }

    fn passages_of(&mut self, message: &Message, before: &[Message]) -> Result<Option<Wanted>, Error> {
        // What the assistant said is not what anybody knows.
        if message.content.trim().is_empty() || Some(message.sender) == self.bot {
            return Ok(None);
        }
        let is_short = passages::is_short(&message.content);
        let root = match message.parent.filter(|_| is_short) {
            Some(root) => self.root(root, before)?,
            None => None,
        };
        let bot = self.bot;
        let before = before.iter().filter(|other| Some(other.sender) != bot);
        let passages = passages::passages(message, before, root.as_ref());
        Ok((!passages.is_empty()).then(|| Wanted { message: message.clone(), passages }))
    }

    fn root(&mut self, id: MessageId, near: &[Message]) -> Result<Option<Message>, Error> {
        if let Some(known) = self.roots.get(&id) {
            return Ok(known.clone());
        }
        let found = match near.iter().find(|message| message.id == id) {
            Some(root) => Some(root.clone()),
            None => match messages::get(&self.system, id) {
                Ok(root) => Some(root),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            },
        };
        self.roots.insert(id, found.clone());
        Ok(found)
    }

    /// Indexes the first `number` of these messages of a channel, the newest first; the others are what was said before.
    pub fn add_page(&mut self, page: &[Message], number: usize) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for at in 0..number.min(page.len()) {
            if let Some((message, before)) = page.get(at..).and_then(<[Message]>::split_first) {
                let near = before.get(..LOOK_BACK.min(before.len())).unwrap_or_default();
                wanted.extend(self.passages_of(message, near)?);
            }
        }
        let vectors = self.embed(&wanted)?;
        self.put(&wanted, vectors)
    }

    /// The vectors of all passages, in their order; none for one that a provider does not take.
    fn embed(&mut self, wanted: &[Wanted]) -> Result<Vec<Option<Vec<f32>>>, Error> {
        let texts: Vec<String> = wanted
            .iter()
            .flat_map(|wanted| wanted.passages.iter().map(|passage| passage.text.clone()))
            .collect();
        let mut vectors = Vec::with_capacity(texts.len());
        for some in texts.chunks(BATCH) {
            match self.embed_batch(some) {
                Ok(found) => vectors.extend(found.into_iter().map(Some)),
                Err(error)
                    if error.reason().code == "llm_failed"
                        && self.embed_batch(&["ok".to_owned()]).is_ok() =>
                {
                    // It works, so one of these is what it does not take; it must not keep the others out for ever.
                    for text in some {
                        let found = self.embed_batch(std::slice::from_ref(text));
                        if let Err(error) = &found {
                            let detail = &error.reason().detail;
                            patchbay_sdk::warn!("a passage is left out of the index: {detail}");
                        }
                        vectors.push(found.ok().and_then(|mut found| found.pop()));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(vectors)
    }

    fn embed_batch(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let made = llm::embed(self.policy.embedding.as_deref(), texts)?;
        if made.embedder != self.ledger.embedder {
            // The operator has just changed it: the next look makes a new collection.
            return Err(Error::unavailable("what embeds has changed"));
        }
        if let Some(length) = made.vectors.first().and_then(|vector| u32::try_from(vector.len()).ok()) {
            backfill::know_dimensions(&mut self.ledger, length)?;
        }
        self.numbers += made.vectors.iter().map(Vec::len).sum::<usize>();
        Ok(made.vectors)
    }

    fn put(&self, wanted: &[Wanted], vectors: Vec<Option<Vec<f32>>>) -> Result<(), Error> {
        let passages = wanted
            .iter()
            .flat_map(|wanted| wanted.passages.iter().map(move |passage| (&wanted.message, passage)));
        let items: Vec<Item> = passages
            .zip(vectors)
            // What has no word in it has no direction.
            .filter_map(|(of, vector)| Some((of, vector.filter(|v| v.iter().any(|n| *n != 0.0))?)))
            .map(|((message, passage), vector)| self.item(message, passage, vector))
            .collect();
        items.chunks(ITEMS).try_for_each(|some| vectors::upsert(&self.ledger.collection, some))
    }

    fn item(&self, message: &Message, passage: &Passage, vector: Vec<f32>) -> Item {
        let metadata = [
            ("channel", message.channel),
            ("sender", message.sender),
            ("at", message.created_at),
            ("message", message.id),
            ("root", message.parent.unwrap_or(0)),
            ("first", passage.first),
            ("run", self.ledger.run),
        ];
        Item {
            id: format!("{}-{}", message.id, passage.nth),
            vector,
            metadata: metadata.map(|(name, of)| (name.to_owned(), Datum::Integer(integer(of)))).to_vec(),
        }
    }
}

/// Ids and times fit well within what a number of metadata can be.
fn integer(of: u64) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// Metadata that is one of these.
pub fn one_of(name: &str, values: impl Iterator<Item = u64>) -> Condition {
    Condition::OneOf((name.to_owned(), values.map(|value| Datum::Integer(integer(value))).collect()))
}

/// The message that something found belongs to.
pub fn message_of(found: &vectors::Neighbor) -> Option<MessageId> {
    found.metadata.iter().find_map(|(name, value)| match value {
        Datum::Integer(id) if name == "message" => u64::try_from(*id).ok(),
        _ => None,
    })
}
