//! Messages and threads.

use std::time::Duration;

use patchbay_core::{
    Actor, ChannelId, Event, FileId, MAX_FILES, Message, MessageEdit, MessageId, Timestamp,
    permission::Action, text,
};
use patchbay_store::{Document, Index, Tx};

use super::{
    Error, MAX_PAGE, Ops, PageOf, PageRequest, Result, Thing,
    access::{enter, find_message, user_of},
    error::Faults,
    journal::emit,
    posting::Post,
};

/// For how long a repeated key finds the original.
pub(super) const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What a new message is made of.
#[derive(Clone, Debug, Default)]
pub struct NewPost {
    /// 1 to 8,000 characters; may be empty with files.
    pub content: String,
    /// The message to reply to.
    pub parent_id: Option<MessageId>,
    /// Files that the actor has uploaded.
    pub file_ids: Vec<FileId>,
    /// Makes a repeat of the same post find the first one.
    pub key: Option<String>,
}

/// A message that was asked for.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The message.
    pub message: Message,
    /// False if the key has been used before and this is the original.
    pub created: bool,
}

/// A page of a thread.
#[derive(Clone, Debug)]
pub struct ThreadPage {
    /// What the replies belong to.
    pub root: Message,
    /// The replies, oldest first.
    pub replies: PageOf<Message>,
}

impl Ops {
    /// Posts a message.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for a non-member, [`Error::Invalid`], [`Error::Refused`] by a plugin's
    /// hook.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn post_message(&self, actor: &Actor, channel: ChannelId, new: NewPost) -> Result<Posted> {
        let sender = user_of(actor)?;
        check_post(&new)?;
        let new = self.hooks_before_post(actor, channel, new).await?;
        self.write_post(Post { actor: actor.clone(), sender, channel, new }).await
    }

    /// One message.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn message(&self, actor: &Actor, id: MessageId) -> Result<Message> {
        let mut conn = self.0.store.read().await?;
        Ok(find_message(&mut conn, actor, id).await?.0)
    }

    /// Those of these messages, up to a page of them, that are there and that the actor can read, in the order asked.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than that.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn messages_of(&self, actor: &Actor, ids: &[MessageId]) -> Result<Vec<Message>> {
        if i64::try_from(ids.len()).is_ok_and(|asked| asked > MAX_PAGE) {
            return Err(Error::invalid("ids", "length", format!("may have at most {MAX_PAGE} items")));
        }
        let mut conn = self.0.store.read().await?;
        let wanted: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let mut seen = conn.messages_seen(actor.user_id(), &wanted).await?;
        seen.sort_by_key(|message| ids.iter().position(|id| *id == message.id));
        Ok(seen)
    }

    /// A page of a channel's messages, replies among them, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn messages(
        &self,
        actor: &Actor,
        channel: ChannelId,
        page: PageRequest,
    ) -> Result<PageOf<Message>> {
        let mut conn = self.0.store.read().await?;
        enter(&mut conn, actor, channel).await?;
        Ok(page.page(conn.messages(channel, &page.query()).await?, true))
    }

    /// The thread that a message belongs to.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn thread(&self, actor: &Actor, id: MessageId, page: PageRequest) -> Result<ThreadPage> {
        let mut conn = self.0.store.read().await?;
        let (message, _) = find_message(&mut conn, actor, id).await?;
        let root = match message.parent_id {
            Some(root) => conn.message(root).await?.ok_or(Error::NotFound(Thing::Message))?,
            None => message,
        };
        let replies = page.page(conn.replies(root.id, &page.query()).await?, false);
        Ok(ThreadPage { root, replies })
    }

    /// The earlier versions of a message, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn message_history(
        &self,
        actor: &Actor,
        id: MessageId,
        page: PageRequest,
    ) -> Result<PageOf<MessageEdit>> {
        let mut conn = self.0.store.read().await?;
        find_message(&mut conn, actor, id).await?;
        Ok(page.page(conn.message_edits(id, &page.query()).await?, true))
    }

    /// Replaces the content of a message that the actor sent. The earlier version is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Invalid`], [`Error::Refused`] by a plugin's hook.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn edit_message(&self, actor: &Actor, id: MessageId, content: String) -> Result<Message> {
        let content = self.hooks_before_edit(actor, id, content).await?;
        let actor = actor.clone();
        self.0.store.write(move |tx| Box::pin(async move { edit(tx, &actor, id, content).await })).await
    }

    /// Deletes a message that the actor sent or moderates. A root with replies stays as a tombstone.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn delete_message(&self, actor: &Actor, id: MessageId) -> Result<()> {
        let actor = actor.clone();
        self.0.store.write(move |tx| Box::pin(async move { delete(tx, &actor, id).await })).await?;
        self.0.removals.notify_one();
        Ok(())
    }
}

fn check_post(new: &NewPost) -> Result<()> {
    let mut faults = Faults::default();
    let least = usize::from(new.file_ids.is_empty());
    faults.check("content", text::check_text(&new.content, least, text::MAX_CONTENT_CHARS));
    if new.file_ids.len() > MAX_FILES {
        faults.push("file_ids", "length", format!("may have at most {MAX_FILES} items"));
    }
    if let Some(key) = &new.key {
        faults.check("Idempotency-Key", text::check_text(key, 1, text::MAX_KEY_CHARS));
    }
    faults.into_result()
}

async fn edit(tx: &mut Tx, actor: &Actor, id: MessageId, content: String) -> Result<Message> {
    let (old, entered) = find_message(tx, actor, id).await?;
    if old.deleted_at.is_some() {
        return Err(Error::NotFound(Thing::Message));
    }
    if actor.user_id() != Some(old.sender.id) {
        return Err(Error::Forbidden("only its sender may edit a message".into()));
    }
    entered.demand(Action::Write)?;
    let mut faults = Faults::default();
    let least = usize::from(old.files.is_empty());
    faults.check("content", text::check_text(&content, least, text::MAX_CONTENT_CHARS));
    faults.into_result()?;
    if content == old.content {
        return Ok(old);
    }
    let now = Timestamp::now();
    let mentions = tx.user_ids_by_name(&text::mentioned_usernames(&content)).await?;
    tx.edit_message(&old, &content, &mentions, actor.user_id(), now).await?;
    tx.index(Index::Messages, id.0, Document::message(&content, old.channel_id, old.sender.id));
    let message = Message { content, mentions, edited_at: Some(now), updated_at: now, ..old };
    emit(tx, actor, &Event::MessageUpdated(message.clone()), now)?;
    Ok(message)
}

async fn delete(tx: &mut Tx, actor: &Actor, id: MessageId) -> Result<()> {
    let (message, entered) = find_message(tx, actor, id).await?;
    if message.deleted_at.is_some() {
        return Err(Error::NotFound(Thing::Message));
    }
    let is_senders = actor.user_id() == Some(message.sender.id) && entered.allows(Action::Write);
    if !is_senders && !entered.allows(Action::Manage) {
        return Err(Error::Forbidden("only its sender and the channel's admins may delete a message".into()));
    }
    let now = Timestamp::now();
    if message.reply_count > 0 {
        tx.entomb_message(id, now).await?;
    } else {
        tx.delete_message(id).await?;
    }
    forget(tx, actor, &message, message.reply_count > 0, now)?;
    let Some(root) = message.parent_id else { return Ok(()) };
    if tx.add_to_reply_count(root, -1).await? == 0
        && let Some(root) = tx.message(root).await?
        && root.deleted_at.is_some()
    {
        // A tombstone marks the place of its replies: without any it has no purpose.
        tx.delete_message(root.id).await?;
        forget(tx, actor, &root, false, now)?;
    }
    Ok(())
}

/// Takes a message's content out of the journal and says there that it is gone.
fn forget(tx: &mut Tx, actor: &Actor, message: &Message, is_tombstone: bool, now: Timestamp) -> Result<()> {
    tx.scrub(message.id, patchbay_protocol::scrubbed_message(message, now));
    let event = Event::MessageDeleted {
        id: message.id,
        channel_id: message.channel_id,
        parent_id: message.parent_id,
        is_tombstone,
        deleted_at: now,
    };
    emit(tx, actor, &event, now)
}
