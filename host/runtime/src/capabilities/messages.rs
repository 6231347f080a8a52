//! `messages`: messages, read and written with the actor's permissions.

use async_trait::async_trait;
use patchbay_core::{Actor, ChannelId, FileId, Message, MessageId};
use wasmtime::component::{Linker, Resource};

use super::check_limit;
use crate::{
    HostError,
    bindings::wit::{messages as wit, types},
    state::{CallState, Own, id_in, id_out, own},
};

const MAX_PAGE: u32 = 200;

/// What the embedder does for plugins with messages, with the permissions of `actor`.
#[async_trait]
pub trait Messages {
    /// One message.
    async fn get(&self, actor: &Actor, id: MessageId) -> Result<Message, HostError>;
    /// A channel's messages before the message `before`, newest first, at most `limit` (1 to 200).
    async fn list(
        &self,
        actor: &Actor,
        channel: ChannelId,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Message>, HostError>;
    /// Those of 1 to 200 messages that the actor can read now, as JSON for clients, in the order asked.
    async fn show(&self, actor: &Actor, ids: &[MessageId]) -> Result<Vec<(MessageId, String)>, HostError>;
    /// Posts a message. The content is checked by the embedder.
    async fn post(
        &self,
        actor: &Actor,
        channel: ChannelId,
        content: &str,
        parent: Option<MessageId>,
        files: Vec<FileId>,
    ) -> Result<Message, HostError>;
    /// Replaces a message's text.
    async fn edit(&self, actor: &Actor, id: MessageId, content: &str) -> Result<Message, HostError>;
    /// Deletes a message.
    async fn delete(&self, actor: &Actor, id: MessageId) -> Result<(), HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl CallState {
    /// A message on its way to the guest, counted.
    fn message_out(
        &mut self,
        message: Result<Message, HostError>,
    ) -> wasmtime::Result<Result<wit::Message, types::Error>> {
        if let Ok(message) = &message {
            self.charge_bytes(size(message))?;
        }
        Ok(message.map(Into::into).map_err(types::Error::from))
    }
}

impl wit::Host for CallState {
    async fn get(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
    ) -> wasmtime::Result<Result<wit::Message, types::Error>> {
        self.charge_call(0)?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let message = self.wait(Messages::get(&*host, &actor, MessageId(id_in(id)))).await;
        self.message_out(message)
    }

    async fn list(
        &mut self,
        actor: Resource<Actor>,
        channel: u64,
        before: Option<u64>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::Message>, types::Error>> {
        self.charge_call(0)?;
        let limit = match check_limit(limit, MAX_PAGE) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let before = before.map(|id| MessageId(id_in(id)));
        let found = self.wait(Messages::list(&*host, &actor, ChannelId(id_in(channel)), before, limit)).await;
        if let Ok(found) = &found {
            self.charge_bytes(found.iter().map(size).sum())?;
        }
        Ok(found.map(|list| list.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }

    async fn show(
        &mut self,
        actor: Resource<Actor>,
        ids: Vec<u64>,
    ) -> wasmtime::Result<Result<Vec<(u64, String)>, types::Error>> {
        self.charge_call(ids.len() * size_of::<u64>())?;
        let asked = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        if let Err(error) = check_limit(asked, MAX_PAGE) {
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let ids: Vec<_> = ids.into_iter().map(|id| MessageId(id_in(id))).collect();
        let shown = self.wait(Messages::show(&*host, &actor, &ids)).await;
        if let Ok(shown) = &shown {
            self.charge_bytes(shown.iter().map(|(_, json)| size_of::<u64>() + json.len()).sum())?;
        }
        let shown = shown.map(|list| list.into_iter().map(|(id, json)| (id_out(id.0), json)).collect());
        Ok(shown.map_err(types::Error::from))
    }

    async fn post(
        &mut self,
        actor: Resource<Actor>,
        channel: u64,
        content: String,
        parent: Option<u64>,
        files: Vec<u64>,
    ) -> wasmtime::Result<Result<wit::Message, types::Error>> {
        self.charge_call(content.len() + files.len() * size_of::<u64>())?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let parent = parent.map(|id| MessageId(id_in(id)));
        let files = files.into_iter().map(|id| FileId(id_in(id))).collect();
        let post = Messages::post(&*host, &actor, ChannelId(id_in(channel)), &content, parent, files);
        let message = self.wait(post).await;
        self.message_out(message)
    }

    async fn edit(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
        content: String,
    ) -> wasmtime::Result<Result<wit::Message, types::Error>> {
        self.charge_call(content.len())?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let message = self.wait(Messages::edit(&*host, &actor, MessageId(id_in(id)), &content)).await;
        self.message_out(message)
    }

    async fn delete(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        self.charge_call(0)?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let deleted = self.wait(Messages::delete(&*host, &actor, MessageId(id_in(id)))).await;
        Ok(deleted.map_err(types::Error::from))
    }
}

fn size(message: &Message) -> usize {
    size_of::<wit::Message>() + message.content.len()
}

impl From<Message> for wit::Message {
    fn from(message: Message) -> Self {
        Self {
            id: id_out(message.id.0),
            channel: id_out(message.channel_id.0),
            sender: id_out(message.sender.id.0),
            is_bot: message.is_bot,
            parent: message.parent_id.map(|id| id_out(id.0)),
            content: message.content,
            created_at: id_out(message.created_at.0),
            edited_at: message.edited_at.map(|at| id_out(at.0)),
        }
    }
}
