//! Writing messages. Posts that come while the writer is busy are written together, by a handful of statements for all
//! of them: each alone needs as many, and on PostgreSQL each is a round trip.
//!
//! Owns: who is written with whom, and that no post suffers for another one. Must not: ask plugins; that has been done.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use patchbay_core::{
    Actor, Channel, ChannelId, Event, FileId, Message, MessageId, Role, Timestamp, UserId,
    permission::Action, text,
};
use patchbay_store::{Document, Index, NewMessage, StoreError, Tx};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::Instrument as _;

use super::{
    Error, Ops, Result, Thing,
    access::Entered,
    journal::emit,
    messages::{KEY_LIFE, NewPost, Posted},
};

/// Most posts that are written together.
const TOGETHER: usize = 64;
/// Most that wait. Beyond this callers wait for a place.
const WAITING: usize = 1024;
/// How long a caller waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// A post that has been checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub(super) struct Post {
    /// Who acts.
    pub actor: Actor,
    /// The user behind the actor.
    pub sender: UserId,
    /// Where.
    pub channel: ChannelId,
    /// What.
    pub new: NewPost,
}

/// What makes a repeat find the original.
type Key = (UserId, ChannelId, String);

impl Post {
    fn owned_key(&self) -> Option<Key> {
        self.new.key.clone().map(|key| (self.sender, self.channel, key))
    }
}

/// Posts that wait for the writer.
#[derive(Debug)]
pub(super) struct Posting {
    waiting: Mutex<Waiting>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Waiting {
    posts: VecDeque<Waiter>,
    /// Whether somebody is on the way to the writer with those that wait.
    is_called: bool,
}

#[derive(Debug)]
struct Waiter {
    post: Post,
    /// Held as long as the post waits, whether or not its caller still does.
    _place: OwnedSemaphorePermit,
    reply: oneshot::Sender<Result<Posted>>,
}

impl Default for Posting {
    fn default() -> Self {
        Self { waiting: Mutex::default(), places: Arc::new(Semaphore::new(WAITING)) }
    }
}

impl Posting {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those whose turn it is, and whether there are more. A key that is there twice is left for the next turn, when
    /// its first use can be found; files are attached to one message after the other.
    fn take(&self) -> (Vec<Waiter>, bool) {
        let mut waiting = self.waiting();
        let mut keys = HashSet::new();
        let mut taken: Vec<Waiter> = Vec::new();
        while let Some(next) = waiting.posts.front() {
            let is_alone = !next.post.new.file_ids.is_empty();
            if taken.len() == TOGETHER
                || (is_alone && !taken.is_empty())
                || next.post.owned_key().is_some_and(|key| !keys.insert(key))
            {
                break;
            }
            taken.extend(waiting.posts.pop_front());
            if is_alone {
                break;
            }
        }
        let has_more = !waiting.posts.is_empty();
        waiting.is_called = has_more;
        (taken, has_more)
    }
}

impl Ops {
    /// Writes a post, with others that wait.
    pub(super) async fn write_post(&self, post: Post) -> Result<Posted> {
        let posting = &self.0.posting;
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&posting.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(StoreError::Unavailable("too many posts are waiting".into()).into());
        };
        let (reply, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = posting.waiting();
            waiting.posts.push_back(Waiter { post, _place: place, reply });
            !std::mem::replace(&mut waiting.is_called, true)
        };
        if is_first {
            self.call_writer();
        }
        // To whoever follows the request this is its write, although others may share it.
        let answered = answered.instrument(tracing::debug_span!("database write")).await;
        answered.unwrap_or_else(|_| Err(StoreError::Unavailable("the post failed".into()).into()))
    }

    /// Goes to the writer, whoever may have hung up meanwhile.
    fn call_writer(&self) {
        let ops = self.clone();
        tokio::spawn(async move { ops.write_waiting().await });
    }

    async fn write_waiting(&self) {
        // Filled in the writer's turn, so that everything that comes before it is taken along.
        let turn = Arc::<Mutex<Turn>>::default();
        let (ops, of_writer) = (self.clone(), Arc::clone(&turn));
        let written = self.0.store.write(move |tx| {
            Box::pin(async move {
                let (taken, has_more) = ops.0.posting.take();
                if has_more {
                    ops.call_writer();
                }
                let (posts, replies): (Vec<_>, Vec<_>) =
                    taken.into_iter().map(|waiter| (waiter.post, waiter.reply)).unzip();
                let posts = Arc::new(posts);
                lock(&of_writer).begin(Arc::clone(&posts), replies);
                let results = post_all(tx, posts).await?;
                lock(&of_writer).is_done = true;
                Ok::<_, Error>(results)
            })
        });
        let written = written.await;
        let Turn { posts, replies, is_done } = std::mem::take(&mut *lock(&turn));
        match written {
            Ok(results) => {
                for (reply, result) in replies.into_iter().zip(results) {
                    let _ = reply.send(result);
                }
            }
            // Nothing of them was kept, and the one at fault is to be the only one that is told so.
            Err(_) if !is_done && posts.len() > 1 => {
                for (post, reply) in posts.iter().cloned().zip(replies) {
                    let _ = reply.send(self.write_alone(post).await);
                }
            }
            Err(error) => self.all_fail(replies, error),
        }
    }

    async fn write_alone(&self, post: Post) -> Result<Posted> {
        let write = self.0.store.write(move |tx| {
            Box::pin(async move {
                let one = post_all(tx, Arc::new(vec![post])).await?.pop();
                one.unwrap_or(Err(Error::NotFound(Thing::Message)))
            })
        });
        write.await
    }

    /// Tells all of a turn that it failed. One that never had its turn leaves its posts waiting: they fail with it, since
    /// nobody else is on the way.
    fn all_fail(&self, mut replies: Vec<oneshot::Sender<Result<Posted>>>, error: Error) {
        if replies.is_empty() {
            let mut waiting = self.0.posting.waiting();
            waiting.is_called = false;
            replies = waiting.posts.drain(..).map(|waiter| waiter.reply).collect();
        }
        let mut replies = replies.into_iter();
        let last = replies.next_back();
        for reply in replies {
            let _ = reply.send(Err(Error::from(StoreError::Unavailable(error.to_string()))));
        }
        if let Some(last) = last {
            let _ = last.send(Err(error));
        }
    }
}

/// What becomes of a turn.
#[derive(Debug, Default)]
struct Turn {
    posts: Arc<Vec<Post>>,
    replies: Vec<oneshot::Sender<Result<Posted>>>,
    /// Whether everything was written and only the commit was left: how that ended may be unknown.
    is_done: bool,
}

impl Turn {
    fn begin(&mut self, posts: Arc<Vec<Post>>, replies: Vec<oneshot::Sender<Result<Posted>>>) {
        (self.posts, self.replies) = (posts, replies);
    }
}

fn lock(turn: &Mutex<Turn>) -> MutexGuard<'_, Turn> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of each post; an error means that none of them is to be kept.
async fn post_all(tx: &mut Tx, posts: Arc<Vec<Post>>) -> Result<Vec<Result<Posted>>> {
    if posts.is_empty() {
        return Ok(Vec::new());
    }
    let now = Timestamp::now();
    let roles = roles(tx, pairs(&posts)).await?;
    let known = known(tx, keys(&posts), now).await?;
    let roots = roots(tx, parents(&posts)).await?;
    let named = tx.users_by_name(&names(&posts)).await?;

    // Each has its result by now, or is written.
    let mut results: Vec<Option<Result<Posted>>> = Vec::with_capacity(posts.len());
    let mut written = Vec::new();
    for (n, post) in posts.iter().enumerate() {
        let entered = Entered::of(roles.get(&(post.channel, post.sender)).cloned(), &post.actor);
        let allowed = entered.and_then(|entered| entered.demand(Action::Write));
        let original = post.owned_key().and_then(|key| known.get(&key));
        results.push(match (allowed, original) {
            (Err(error), _) => Some(Err(error)),
            // The original may have been deleted since: then a repeat is still no reason to post again.
            (Ok(()), Some(original)) => {
                let message = original.clone().ok_or(Error::NotFound(Thing::Message));
                Some(message.map(|message| Posted { message, created: false }))
            }
            (Ok(()), None) => match root_of(post, &roots) {
                Err(error) => Some(Err(error)),
                Ok(root) => {
                    written.push(Checked { n, root, mentions: mentions(&post.new.content, &named) });
                    None
                }
            },
        });
    }
    let mut messages = write(tx, &posts, written, now).await?.into_iter();
    let result = |result: Option<Result<Posted>>| {
        result.unwrap_or_else(|| {
            let message = messages.next().ok_or(Error::NotFound(Thing::Message))?;
            Ok(Posted { message, created: true })
        })
    };
    Ok(results.into_iter().map(result).collect())
}

fn pairs(posts: &[Post]) -> Vec<(ChannelId, UserId)> {
    let pairs: BTreeSet<_> = posts.iter().map(|post| (post.channel, post.sender)).collect();
    pairs.into_iter().collect()
}

fn keys(posts: &[Post]) -> Vec<Key> {
    posts.iter().filter_map(Post::owned_key).collect()
}

fn parents(posts: &[Post]) -> BTreeSet<MessageId> {
    posts.iter().filter_map(|post| post.new.parent_id).collect()
}

fn names(posts: &[Post]) -> Vec<String> {
    let names: BTreeSet<_> =
        posts.iter().flat_map(|post| text::mentioned_usernames(&post.new.content)).collect();
    names.into_iter().collect()
}

fn mentions(content: &str, named: &HashMap<String, UserId>) -> Vec<UserId> {
    if named.is_empty() {
        return Vec::new();
    }
    let ids: BTreeSet<_> =
        text::mentioned_usernames(content).iter().filter_map(|name| named.get(name).copied()).collect();
    ids.into_iter().collect()
}

type Roles = HashMap<(ChannelId, UserId), (Channel, Option<Role>)>;

async fn roles(tx: &mut Tx, pairs: Vec<(ChannelId, UserId)>) -> Result<Roles> {
    let [(channel, user)] = *pairs else { return Ok(tx.channels_and_roles(&pairs).await?) };
    // The usual statement is kept prepared.
    let found = tx.channel_and_role(channel, Some(user)).await?;
    Ok(found.map(|found| ((channel, user), found)).into_iter().collect())
}

/// What was posted before with these keys; none if it has been deleted.
async fn known(tx: &mut Tx, keys: Vec<Key>, now: Timestamp) -> Result<HashMap<Key, Option<Message>>> {
    let mut known = HashMap::new();
    for (key, id) in tx.idempotent_messages(&keys, now.minus(KEY_LIFE)).await? {
        known.insert(key, tx.message(id).await?);
    }
    Ok(known)
}

/// What is replied to.
async fn roots(tx: &mut Tx, parents: BTreeSet<MessageId>) -> Result<HashMap<MessageId, Message>> {
    let mut found = HashMap::new();
    for parent in parents {
        found.extend(tx.message(parent).await?.map(|message| (parent, message)));
    }
    Ok(found)
}

/// The root of its thread. Threads are one level: a reply to a reply belongs to the root.
fn root_of(post: &Post, roots: &HashMap<MessageId, Message>) -> Result<Option<MessageId>> {
    let Some(parent) = post.new.parent_id else { return Ok(None) };
    let found = roots.get(&parent).filter(|message| message.channel_id == post.channel);
    let parent = found.ok_or_else(|| Error::invalid("parent_id", "not_found", "is not in this channel"))?;
    Ok(Some(parent.parent_id.unwrap_or(parent.id)))
}

/// A post that can be written.
#[derive(Debug)]
struct Checked {
    /// Which.
    n: usize,
    root: Option<MessageId>,
    mentions: Vec<UserId>,
}

/// Writes what has been checked, and what hangs on it; the messages, in the same order.
async fn write(
    tx: &mut Tx,
    posts: &Arc<Vec<Post>>,
    checked: Vec<Checked>,
    now: Timestamp,
) -> Result<Vec<Message>> {
    if checked.is_empty() {
        return Ok(Vec::new());
    }
    let ids = tx.insert_messages(&rows(posts, &checked), now).await?;
    let mut replies: BTreeMap<MessageId, i64> = BTreeMap::new();
    let mut keys = Vec::new();
    let mut with_files = None;
    for (of, id) in checked.iter().zip(&ids) {
        let Some(post) = posts.get(of.n) else { continue };
        tx.index(Index::Messages, id.0, Document::message(&post.new.content, post.channel, post.sender));
        if let Some(root) = of.root {
            *replies.entry(root).or_default() += 1;
        }
        keys.extend(post.owned_key().map(|key| (key, *id)));
        if !post.new.file_ids.is_empty() {
            with_files = Some((*id, post.sender, post.new.file_ids.clone()));
        }
    }
    // A post with files is alone.
    if let Some((message, owner, files)) = with_files {
        attach(tx, message, owner, files, now).await?;
    }
    for (root, count) in replies {
        tx.add_to_reply_count(root, count).await?;
    }
    tx.remember_keys(&keys, now).await?;
    let messages = tx.messages_in_order(&ids).await?;
    for (of, message) in checked.iter().zip(&messages) {
        let Some(post) = posts.get(of.n) else { continue };
        emit(tx, &post.actor, &Event::MessageCreated(message.clone()), now)?;
    }
    Ok(messages)
}

fn rows<'a>(posts: &'a [Post], checked: &'a [Checked]) -> Vec<NewMessage<'a>> {
    let row = |of: &'a Checked| {
        let post = posts.get(of.n)?;
        Some(NewMessage {
            channel_id: post.channel,
            sender_id: post.sender,
            is_bot: post.actor.is_bot(),
            parent_id: of.root,
            content: &post.new.content,
            mentions: &of.mentions,
            has_attachments: !post.new.file_ids.is_empty(),
        })
    };
    checked.iter().filter_map(row).collect()
}

async fn attach(
    tx: &mut Tx,
    message: MessageId,
    owner: UserId,
    mut files: Vec<FileId>,
    now: Timestamp,
) -> Result<()> {
    files.sort_unstable();
    files.dedup();
    let attached = tx.attach_files(message, owner, &files, now).await?;
    if usize::try_from(attached) == Ok(files.len()) {
        Ok(())
    } else {
        Err(Error::invalid("file_ids", "not_found", "must be files of yours that hang on no other message"))
    }
}
