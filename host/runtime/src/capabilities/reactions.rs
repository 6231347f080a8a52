//! `reactions`: the reactions to messages, with their events.

use async_trait::async_trait;
use patchbay_core::{Actor, MessageId, Reaction, ReactionCount, ReactionId};
use wasmtime::component::{Linker, Resource};

use super::check_limit;
use crate::{
    HostError, HostErrorKind,
    bindings::wit::{reactions as wit, types},
    state::{CallState, Own, count_out, id_in, id_out, own},
};

const MAX_EMOJI_BYTES: usize = 64;
const MAX_PAGE: u32 = 200;
const MAX_MESSAGES: usize = 200;

/// What the embedder does for plugins with reactions, with the permissions of `actor`.
#[async_trait]
pub trait Reactions {
    /// Reacts; false if the reaction was there already. `emoji` has 1 to 64 bytes.
    async fn add(
        &self,
        actor: &Actor,
        message: MessageId,
        emoji: &str,
    ) -> Result<(Reaction, bool), HostError>;
    /// Takes a reaction back; `NotFound` if there is none.
    async fn remove(&self, actor: &Actor, message: MessageId, emoji: &str) -> Result<(), HostError>;
    /// The reactions to a message with ids after `after`, oldest first, at most `limit` (1 to 200).
    async fn list(
        &self,
        actor: &Actor,
        message: MessageId,
        after: Option<ReactionId>,
        limit: u32,
    ) -> Result<Vec<Reaction>, HostError>;
    /// The counts for up to 200 messages, each message's in the order in which each emoji was first used.
    /// Messages that the actor can't read are passed over.
    async fn counts(&self, actor: &Actor, messages: &[MessageId]) -> Result<Vec<ReactionCount>, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn check_emoji(emoji: &str) -> Result<(), HostError> {
    if (1..=MAX_EMOJI_BYTES).contains(&emoji.len()) {
        Ok(())
    } else {
        Err(HostError::new(HostErrorKind::Invalid, format!("emoji must have 1 to {MAX_EMOJI_BYTES} bytes")))
    }
}

impl wit::Host for CallState {
    async fn add(
        &mut self,
        actor: Resource<Actor>,
        message: u64,
        emoji: String,
    ) -> wasmtime::Result<Result<wit::Added, types::Error>> {
        self.charge_call(emoji.len())?;
        if let Err(error) = check_emoji(&emoji) {
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let added = self.wait(Reactions::add(&*host, &actor, MessageId(id_in(message)), &emoji)).await;
        let added = added.map(|(reaction, created)| wit::Added { reaction: reaction.into(), created });
        Ok(added.map_err(types::Error::from))
    }

    async fn remove(
        &mut self,
        actor: Resource<Actor>,
        message: u64,
        emoji: String,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        self.charge_call(emoji.len())?;
        if let Err(error) = check_emoji(&emoji) {
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let removed = self.wait(Reactions::remove(&*host, &actor, MessageId(id_in(message)), &emoji)).await;
        Ok(removed.map_err(types::Error::from))
    }

    async fn list(
        &mut self,
        actor: Resource<Actor>,
        message: u64,
        after: Option<u64>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::Reaction>, types::Error>> {
        self.charge_call(0)?;
        let limit = match check_limit(limit, MAX_PAGE) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let after = after.map(|id| ReactionId(id_in(id)));
        let found = self.wait(Reactions::list(&*host, &actor, MessageId(id_in(message)), after, limit)).await;
        if let Ok(found) = &found {
            self.charge_bytes(found.iter().map(|r| size_of::<wit::Reaction>() + r.emoji.len()).sum())?;
        }
        Ok(found.map(|list| list.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }

    async fn counts(
        &mut self,
        actor: Resource<Actor>,
        messages: Vec<u64>,
    ) -> wasmtime::Result<Result<Vec<wit::Count>, types::Error>> {
        self.charge_call(messages.len().saturating_mul(size_of::<u64>()))?;
        if messages.len() > MAX_MESSAGES {
            let error = HostError::new(HostErrorKind::Invalid, format!("more than {MAX_MESSAGES} messages"));
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let ids: Vec<_> = messages.into_iter().map(|id| MessageId(id_in(id))).collect();
        let counts = self.wait(Reactions::counts(&*host, &actor, &ids)).await;
        if let Ok(counts) = &counts {
            self.charge_bytes(counts.iter().map(|c| size_of::<wit::Count>() + c.emoji.len()).sum())?;
        }
        Ok(counts.map(|list| list.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }
}

impl From<Reaction> for wit::Reaction {
    fn from(reaction: Reaction) -> Self {
        Self {
            id: id_out(reaction.id.0),
            emoji: reaction.emoji,
            user: id_out(reaction.user_id.0),
            message: id_out(reaction.message_id.0),
            created_at: id_out(reaction.created_at.0),
        }
    }
}

impl From<ReactionCount> for wit::Count {
    fn from(count: ReactionCount) -> Self {
        Self {
            message: id_out(count.message_id.0),
            emoji: count.emoji,
            count: count_out(count.count),
            me: count.me,
        }
    }
}
