//! Who is in a channel, as what, and how far each has read.

use patchbay_core::{
    Actor, ChannelId, Event, Member, MessageId, Role, Timestamp, UserId, permission::Action,
};
use patchbay_store::Tx;

use super::{
    Error, Ops, PageOf, PageRequest, Result, Thing,
    access::{Entered, enter, enter_to, user_of},
    journal::emit,
};
use crate::bus::Signal;

impl Ops {
    /// A page of a channel's members, by rising user id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn members(
        &self,
        actor: &Actor,
        channel: ChannelId,
        page: PageRequest,
    ) -> Result<PageOf<Member>> {
        let mut conn = self.0.store.read().await?;
        enter(&mut conn, actor, channel).await?;
        Ok(page.page(conn.members(channel, &page.query()).await?, false))
    }

    /// Adds a user, or lets the actor join. Whoever is a member already stays what they are; the flag says
    /// whether somebody was added.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Invalid`] for an unknown user.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn add_member(
        &self,
        actor: &Actor,
        channel: ChannelId,
        user: UserId,
        role: Option<Role>,
    ) -> Result<(Member, bool)> {
        let role = role.unwrap_or(Role::Member);
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let entered = enter(tx, &actor, channel).await?;
                    if let Some(member) = tx.member(channel, user).await? {
                        return Ok((member, false));
                    }
                    let joins = actor.user_id() == Some(user) && role == Role::Member;
                    entered.demand(if joins { Action::Join } else { Action::Add(role) })?;
                    if tx.user(user).await?.is_none() {
                        return Err(Error::invalid(
                            "user_id",
                            "not_found",
                            format!("there is no user {user}"),
                        ));
                    }
                    let now = Timestamp::now();
                    // Whoever enters a channel that everybody has left has to be able to manage it.
                    let is_empty = tx.count_owners_and_members(channel).await?.1 == 0;
                    let role = if is_empty { Role::Owner } else { role };
                    tx.insert_members(channel, &[(user, role)], now).await?;
                    let member = found(tx, channel, user).await?;
                    emit(tx, &actor, &Event::MemberAdded(member.clone()), now)?;
                    Ok((member, true))
                })
            })
            .await
    }

    /// Changes a member's role. The last owner of a channel with other members stays owner.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Conflict`] with `last_owner`.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn set_role(
        &self,
        actor: &Actor,
        channel: ChannelId,
        user: UserId,
        role: Role,
    ) -> Result<Member> {
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let entered = enter(tx, &actor, channel).await?;
                    let old = found(tx, channel, user).await?;
                    entered.demand(Action::ChangeRole(old.role, role))?;
                    if old.role == role {
                        return Ok(old);
                    }
                    if tx.count_owners_and_members(channel).await?.0 == 1 && old.role == Role::Owner {
                        return Err(last_owner());
                    }
                    tx.set_role(channel, user, role).await?;
                    let member = Member { role, ..old };
                    emit(tx, &actor, &Event::MemberUpdated(member.clone()), Timestamp::now())?;
                    Ok(member)
                })
            })
            .await
    }

    /// Removes a member, or lets the actor leave. The last owner can't leave while others remain.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Conflict`] with `last_owner`.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn remove_member(&self, actor: &Actor, channel: ChannelId, user: UserId) -> Result<()> {
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let entered: Entered = enter(tx, &actor, channel).await?;
                    let member = found(tx, channel, user).await?;
                    let leaves = actor.user_id() == Some(user);
                    entered.demand(if leaves { Action::Leave } else { Action::Remove(member.role) })?;
                    keep_an_owner(tx, &member).await?;
                    tx.delete_member(channel, user).await?;
                    let now = Timestamp::now();
                    let event = Event::MemberRemoved { channel_id: channel, user_id: user };
                    emit(tx, &actor, &event, now)?;
                    if !entered.channel.is_public && tx.count_owners_and_members(channel).await?.1 == 0 {
                        // Nobody could ever read it again.
                        tx.delete_channel(channel, now).await?;
                        emit(tx, &actor, &Event::ChannelDeleted(entered.channel), now)?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Moves the actor's read mark forward to a message of the channel; a mark never moves back.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for a non-member.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn mark_read(&self, actor: &Actor, channel: ChannelId, message: MessageId) -> Result<()> {
        let user_id = user_of(actor)?;
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    enter_to(tx, &actor, channel, Action::Write).await?;
                    let there = tx.message(message).await?.is_some_and(|m| m.channel_id == channel);
                    if !there {
                        return Err(Error::invalid("message_id", "not_found", "is not in this channel"));
                    }
                    if tx.mark_read(channel, user_id, message).await? {
                        let event = Event::ReadUpdated { user_id, channel_id: channel, message_id: message };
                        emit(tx, &actor, &event, Timestamp::now())?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Tells those who are in a channel that the actor is typing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn typing(&self, actor: &Actor, channel: ChannelId) -> Result<()> {
        let user_id = user_of(actor)?;
        let mut conn = self.0.store.read().await?;
        enter_to(&mut conn, actor, channel, Action::Write).await?;
        self.0.bus.send_lossy(Signal::Typing { channel_id: channel, user_id });
        Ok(())
    }
}

async fn found(tx: &mut Tx, channel: ChannelId, user: UserId) -> Result<Member> {
    tx.member(channel, user).await?.ok_or(Error::NotFound(Thing::Member))
}

/// A channel with members has somebody who can manage it.
async fn keep_an_owner(tx: &mut Tx, leaving: &Member) -> Result<()> {
    if leaving.role != Role::Owner {
        return Ok(());
    }
    let (owners, members) = tx.count_owners_and_members(leaving.channel_id).await?;
    if owners == 1 && members > 1 { Err(last_owner()) } else { Ok(()) }
}

fn last_owner() -> Error {
    Error::Conflict("last_owner", "make somebody else owner first".into())
}
