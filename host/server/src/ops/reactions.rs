//! Reactions. Which texts are emoji is for the reactions plugin to say; here they are short texts.

use patchbay_core::{
    Actor, Event, MessageId, Reaction, ReactionCount, ReactionId, Timestamp, permission::Action,
};

use super::{
    Error, Ops, Result, Thing,
    access::{find_message, user_of},
    journal::emit,
};

/// Longest emoji, in bytes: the longest sequences in Unicode have about 35.
const MAX_EMOJI_BYTES: usize = 64;
/// Most different emoji of one message, and most reactions of one user to it.
const MAX_PER_MESSAGE: i64 = 50;
/// Most messages that counts are asked for at once.
const MAX_MESSAGES: usize = 200;

impl Ops {
    /// Reacts; the flag says whether the reaction is new.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for a non-member, [`Error::Invalid`], [`Error::Conflict`]
    /// with `too_many_reactions`.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn add_reaction(
        &self,
        actor: &Actor,
        message: MessageId,
        emoji: String,
    ) -> Result<(Reaction, bool)> {
        let user = user_of(actor)?;
        if emoji.is_empty() || emoji.len() > MAX_EMOJI_BYTES {
            let message = format!("must have 1 to {MAX_EMOJI_BYTES} bytes");
            return Err(Error::invalid("emoji", "length", message));
        }
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let (found, entered) = find_message(tx, &actor, message).await?;
                    if found.deleted_at.is_some() {
                        return Err(Error::NotFound(Thing::Message));
                    }
                    entered.demand(Action::Write)?;
                    if let Some(existing) = tx.reaction(message, user, &emoji).await? {
                        return Ok((existing, false));
                    }
                    let (mine, kinds) = tx.reaction_totals(message, user).await?;
                    if mine >= MAX_PER_MESSAGE || kinds >= MAX_PER_MESSAGE {
                        return Err(Error::Conflict(
                            "too_many_reactions",
                            format!("a message can have {MAX_PER_MESSAGE} different reactions"),
                        ));
                    }
                    let now = Timestamp::now();
                    let reaction = tx.insert_reaction(message, user, &emoji, now).await?;
                    let event = Event::ReactionAdded(found.channel_id, reaction.clone());
                    emit(tx, &actor, &event, now)?;
                    Ok((reaction, true))
                })
            })
            .await
    }

    /// Takes the actor's reaction back. Possible for whoever can read the message: also after leaving.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the message or the reaction.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn remove_reaction(&self, actor: &Actor, message: MessageId, emoji: String) -> Result<()> {
        let user = user_of(actor)?;
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let (found, _) = find_message(tx, &actor, message).await?;
                    let reaction = tx.reaction(message, user, &emoji).await?;
                    let reaction = reaction.ok_or(Error::NotFound(Thing::Reaction))?;
                    tx.delete_reaction(reaction.id).await?;
                    let event = Event::ReactionRemoved(found.channel_id, reaction);
                    emit(tx, &actor, &event, Timestamp::now())?;
                    Ok(())
                })
            })
            .await
    }

    /// The reactions to a message with ids after `after`, oldest first, at most `limit` (1 to 200).
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn reactions(
        &self,
        actor: &Actor,
        message: MessageId,
        after: Option<ReactionId>,
        limit: i64,
    ) -> Result<Vec<Reaction>> {
        let mut conn = self.0.store.read().await?;
        find_message(&mut conn, actor, message).await?;
        Ok(conn.reactions(message, after, limit).await?)
    }

    /// The counts of those of these messages that the actor can read.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 200 messages.
    pub async fn reaction_counts(&self, actor: &Actor, messages: &[MessageId]) -> Result<Vec<ReactionCount>> {
        if messages.len() > MAX_MESSAGES {
            let message = format!("may have at most {MAX_MESSAGES} items");
            return Err(Error::invalid("messages", "length", message));
        }
        Ok(self.0.store.read().await?.reaction_counts(messages, actor.user_id()).await?)
    }
}
