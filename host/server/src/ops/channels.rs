//! Channels.

use patchbay_core::{
    Actor, Channel, ChannelForViewer, ChannelId, Event, MAX_FIRST_MEMBERS, Member, Role, Timestamp, UserId,
    permission::Action, text,
};
use patchbay_store::{self as store, Tx};
use serde_json::json;

use super::{
    Admin, Error, Ops, PageOf, PageRequest, Result, Thing,
    access::{enter, enter_to, user_of},
    audit::record,
    error::Faults,
    journal::emit,
};

/// What a new channel is made of.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// 1 to 100 characters; a direct message can do without.
    pub name: Option<String>,
    /// Up to 1,000 characters.
    pub description: Option<String>,
    /// Everyone may read it; not for direct messages.
    pub is_public: bool,
    /// A voice channel.
    pub is_vc: bool,
    /// A conversation of the actor and the members.
    pub is_direct_message: bool,
    /// Whom to add beside the actor.
    pub member_ids: Vec<UserId>,
}

/// A channel that was asked for.
#[derive(Clone, Debug)]
pub struct CreatedChannel {
    /// As its maker sees it.
    pub view: ChannelForViewer,
    /// False if the direct message was there already.
    pub created: bool,
}

/// What to change of a channel; absent parts stay.
#[derive(Clone, Debug, Default)]
pub struct ChannelChanges {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// Up to 1,000 characters, or none.
    pub description: Option<Option<String>>,
    /// Whether everyone may read it.
    pub is_public: Option<bool>,
    /// Whether it is a voice channel.
    pub is_vc: Option<bool>,
}

impl Ops {
    /// The channels that the actor can read, by rising id; the deployment itself can read all.
    ///
    /// # Errors
    /// If the database can't be read.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn channels(
        &self,
        actor: &Actor,
        matching: Option<&str>,
        page: PageRequest,
    ) -> Result<PageOf<ChannelForViewer>> {
        let mut conn = self.0.store.read().await?;
        let found = conn.channels_readable(actor.user_id(), matching, &page.query()).await?;
        Ok(page.page(found, false))
    }

    /// One channel.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn channel(&self, actor: &Actor, id: ChannelId) -> Result<ChannelForViewer> {
        let mut conn = self.0.store.read().await?;
        enter(&mut conn, actor, id).await?;
        conn.channel_view(id, actor.user_id()).await?.ok_or(Error::NotFound(Thing::Channel))
    }

    /// Makes a channel whose owner is the actor, or finds the direct message of these people.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn create_channel(&self, actor: &Actor, new: NewChannel) -> Result<CreatedChannel> {
        let maker = user_of(actor)?;
        let new = check_new(new, maker)?;
        let actor = actor.clone();
        self.0.store.write(move |tx| Box::pin(async move { create(tx, &actor, maker, new).await })).await
    }

    /// Changes a channel.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Invalid`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn update_channel(
        &self,
        actor: &Actor,
        id: ChannelId,
        changes: ChannelChanges,
    ) -> Result<ChannelForViewer> {
        let mut faults = Faults::default();
        if let Some(name) = &changes.name {
            faults.check("name", text::check_text(name, 1, text::MAX_CHANNEL_NAME_CHARS));
        }
        if let Some(Some(description)) = &changes.description {
            faults.check("description", text::check_text(description, 0, text::MAX_DESCRIPTION_CHARS));
        }
        faults.into_result()?;
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let old = enter_to(tx, &actor, id, Action::Manage).await?.channel;
                    let mut channel = old.clone();
                    channel.name = changes.name.unwrap_or(channel.name);
                    channel.description = changes.description.unwrap_or(channel.description);
                    channel.is_public = changes.is_public.unwrap_or(channel.is_public);
                    channel.is_vc = changes.is_vc.unwrap_or(channel.is_vc);
                    if channel != old {
                        channel.updated_at = Timestamp::now();
                        tx.update_channel(&channel).await?;
                        let at = channel.updated_at;
                        emit(tx, &actor, &Event::ChannelUpdated(channel), at)?;
                    }
                    tx.channel_view(id, actor.user_id()).await?.ok_or(Error::NotFound(Thing::Channel))
                })
            })
            .await
    }

    /// Deletes a channel with everything in it. Its messages can no longer be read from this moment on; their
    /// rows are removed piece by piece afterwards. Who isn't its owner does it as an administrator, on record.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn delete_channel(&self, by: &Admin, id: ChannelId) -> Result<()> {
        let by = by.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let entered = enter_to(tx, &by.actor, id, Action::Delete).await?;
                    let now = Timestamp::now();
                    if !entered.is_owner() {
                        let detail = json!({ "name": entered.channel.name });
                        record(tx, &by, "channel.deleted", format!("channel:{id}"), detail, now).await?;
                    }
                    tx.delete_channel(id, now).await?;
                    emit(tx, &by.actor, &Event::ChannelDeleted(entered.channel), now)?;
                    Ok(())
                })
            })
            .await
    }
}

/// Checks a new channel and brings it into the form that is kept.
fn check_new(mut new: NewChannel, maker: UserId) -> Result<NewChannel> {
    let mut faults = Faults::default();
    if new.is_direct_message && new.member_ids.iter().all(|id| *id == maker) {
        faults.push("member_ids", "missing", "a direct message needs somebody else");
    }
    match &new.name {
        Some(name) if !(new.is_direct_message && name.is_empty()) => {
            faults.check("name", text::check_text(name, 1, text::MAX_CHANNEL_NAME_CHARS));
        }
        None if !new.is_direct_message => faults.push("name", "missing", "is needed"),
        _ => {}
    }
    if let Some(description) = &new.description {
        faults.check("description", text::check_text(description, 0, text::MAX_DESCRIPTION_CHARS));
    }
    if new.member_ids.len() > MAX_FIRST_MEMBERS {
        faults.push("member_ids", "length", format!("may have at most {MAX_FIRST_MEMBERS} items"));
    }
    new.is_public &= !new.is_direct_message;
    faults.into_result()?;
    Ok(new)
}

async fn create(tx: &mut Tx, actor: &Actor, maker: UserId, new: NewChannel) -> Result<CreatedChannel> {
    let existing = tx.existing_users(&new.member_ids).await?;
    let mut faults = Faults::default();
    for (at, id) in new.member_ids.iter().enumerate() {
        if !existing.contains(id) {
            faults.push(&format!("member_ids[{at}]"), "not_found", format!("there is no user {id}"));
        }
    }
    faults.into_result()?;
    // Each once, and the maker is one anyway.
    let mut others = new.member_ids;
    others.retain(|id| *id != maker);
    others.sort_unstable();
    others.dedup();
    let dm_key = new.is_direct_message.then(|| direct_message_key(maker, &others));
    if let Some(key) = &dm_key
        && let Some(id) = tx.direct_message(key).await?
    {
        return Ok(CreatedChannel { view: view(tx, id, maker).await?, created: false });
    }
    let now = Timestamp::now();
    let row = store::NewChannel {
        name: new.name.unwrap_or_default(),
        description: new.description,
        is_direct_message: new.is_direct_message,
        is_public: new.is_public,
        is_vc: new.is_vc,
        created_by_id: maker,
        dm_key,
    };
    let channel: Channel = tx.insert_channel(&row, now).await?;
    // In a direct message everyone is equal.
    let makers_role = if new.is_direct_message { Role::Member } else { Role::Owner };
    let mut members = vec![(maker, makers_role)];
    members.extend(others.iter().map(|id| (*id, Role::Member)));
    tx.insert_members(channel.id, &members, now).await?;
    emit(tx, actor, &Event::ChannelCreated(channel.clone()), now)?;
    for (user, _) in members {
        let member: Option<Member> = tx.member(channel.id, user).await?;
        emit(tx, actor, &Event::MemberAdded(member.ok_or(Error::NotFound(Thing::Member))?), now)?;
    }
    Ok(CreatedChannel { view: view(tx, channel.id, maker).await?, created: true })
}

async fn view(tx: &mut Tx, id: ChannelId, viewer: UserId) -> Result<ChannelForViewer> {
    tx.channel_view(id, Some(viewer)).await?.ok_or(Error::NotFound(Thing::Channel))
}

/// Names a set of people: two of the same people make the same direct message, whoever starts it.
fn direct_message_key(maker: UserId, others: &[UserId]) -> String {
    let mut ids: Vec<i64> = others.iter().map(|id| id.0).chain([maker.0]).collect();
    ids.sort_unstable();
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}
