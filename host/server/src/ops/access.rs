//! From facts to verdicts: reads what the permission rules need and obeys them.

use patchbay_core::{
    Actor, Channel, ChannelId, Message, MessageId, Role, UserId,
    permission::{Access, Action, Standing, Verdict},
};
use patchbay_store::Conn;

use super::{Error, Result, Thing};

/// A channel that the actor can read, and what the actor is in it.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    pub channel: Channel,
    access: Access,
}

impl Entered {
    /// A channel, and what the actor is in it, as the database has them.
    pub fn of(found: Option<(Channel, Option<Role>)>, actor: &Actor) -> Result<Self> {
        let (channel, role) = found.ok_or(Error::NotFound(Thing::Channel))?;
        let access = Access {
            standing: actor.standing(),
            role,
            is_public: channel.is_public,
            is_direct_message: channel.is_direct_message,
        };
        if access.can_read() { Ok(Self { channel, access }) } else { Err(Error::NotFound(Thing::Channel)) }
    }

    /// Demands that the actor may do this here.
    pub fn demand(&self, action: Action) -> Result<()> {
        match self.access.verdict(action) {
            Verdict::Allowed => Ok(()),
            Verdict::Hidden => Err(Error::NotFound(Thing::Channel)),
            Verdict::Forbidden => Err(Error::Forbidden(refusal(action, self.channel.is_direct_message))),
        }
    }

    /// Whether the channel is the actor's own.
    pub fn is_owner(&self) -> bool {
        self.access.role == Some(Role::Owner)
    }

    /// Whether the actor may do this here.
    pub fn allows(&self, action: Action) -> bool {
        self.access.verdict(action) == Verdict::Allowed
    }
}

fn refusal(action: Action, is_direct_message: bool) -> String {
    let what = match action {
        Action::Read => "read this channel",
        Action::Write => return "only members may write in this channel".into(),
        Action::Speak => return "only members may join this voice channel".into(),
        _ if is_direct_message => return "the members of a direct message are fixed".into(),
        Action::Manage => "manage this channel",
        Action::Delete => "delete this channel",
        Action::Join => "join this channel",
        Action::Leave => "leave this channel",
        Action::Add(_) => "add members of this role",
        Action::Remove(_) => "remove this member",
        Action::ChangeRole(..) => "give this role",
    };
    format!("you may not {what}")
}

/// The channel, if the actor can read it.
pub(super) async fn enter(conn: &mut Conn, actor: &Actor, id: ChannelId) -> Result<Entered> {
    Entered::of(conn.channel_and_role(id, actor.user_id()).await?, actor)
}

/// The channel, if the actor may do this there.
pub(super) async fn enter_to(
    conn: &mut Conn,
    actor: &Actor,
    id: ChannelId,
    action: Action,
) -> Result<Entered> {
    let entered = enter(conn, actor, id).await?;
    entered.demand(action)?;
    Ok(entered)
}

/// The message and its channel, if the actor can read it; tombstones are messages too.
pub(super) async fn find_message(
    conn: &mut Conn,
    actor: &Actor,
    id: MessageId,
) -> Result<(Message, Entered)> {
    let message = conn.message(id).await?.ok_or(Error::NotFound(Thing::Message))?;
    let entered = enter(conn, actor, message.channel_id).await.map_err(|error| match error {
        // Whoever may not know the channel may not learn from a message id that it exists.
        Error::NotFound(Thing::Channel) => Error::NotFound(Thing::Message),
        other => other,
    })?;
    Ok((message, entered))
}

/// The user behind an actor that has to be one.
pub(super) fn user_of(actor: &Actor) -> Result<UserId> {
    actor.user_id().ok_or_else(|| Error::Forbidden("this needs a user".into()))
}

/// Demands that the actor administers the deployment.
pub(super) fn demand_superuser(actor: &Actor) -> Result<()> {
    if actor.is_superuser() { Ok(()) } else { Err(Error::Forbidden("only superusers may do this".into())) }
}

/// Whether a user may be in the room of a voice channel now, if there is such a channel.
pub(super) async fn may_speak(conn: &mut Conn, user: UserId, id: ChannelId) -> Result<bool> {
    let Some((channel, role)) = conn.channel_and_role(id, Some(user)).await? else { return Ok(false) };
    let access = Access {
        standing: Standing::User,
        role,
        is_public: channel.is_public,
        is_direct_message: channel.is_direct_message,
    };
    Ok(channel.is_vc && access.verdict(Action::Speak) == Verdict::Allowed)
}
