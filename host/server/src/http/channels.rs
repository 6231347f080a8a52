//! `/api/channels/…`

use axum::extract::State;
use http::StatusCode;
use patchbay_core::{Actor, ChannelId, Member as CoreMember, MessageId, UserId};
use patchbay_protocol::{
    AddMember, Channel, CreateChannel, List, MarkRead, Member, UpdateChannel, UpdateMember,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Failure,
    extract::{As, Id, Json, PageParams, Params},
    openapi::Document,
    users::{ListParams, user_for},
};
use crate::{
    app::App,
    ops::{Admin, ChannelChanges, NewChannel},
};

type Answer<T> = Result<T, Failure>;

pub(super) async fn list(
    State(app): State<App>,
    As(actor): As,
    Params(params): Params<ListParams>,
) -> Answer<axum::Json<List<Channel>>> {
    let page = app.ops.channels(&actor, params.query()?, params.page().request()?).await?;
    let items = page.items.iter().map(Channel::from).collect();
    Ok(axum::Json(List { items, has_more: page.has_more, extensions_omitted: Vec::new() }))
}

pub(super) async fn create(
    State(app): State<App>,
    As(actor): As,
    Json(body): Json<CreateChannel>,
) -> Answer<(StatusCode, axum::Json<Channel>)> {
    let new = NewChannel {
        name: body.name,
        description: body.description,
        is_public: body.is_public,
        is_vc: body.is_vc,
        is_direct_message: body.is_direct_message,
        member_ids: body.member_ids.into_iter().map(UserId).collect(),
    };
    let made = app.ops.create_channel(&actor, new).await?;
    let status = if made.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(Channel::from(&made.view))))
}

pub(super) async fn get(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
) -> Answer<axum::Json<Channel>> {
    Ok(axum::Json(Channel::from(&app.ops.channel(&actor, ChannelId(id)).await?)))
}

pub(super) async fn update(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Json(body): Json<UpdateChannel>,
) -> Answer<axum::Json<Channel>> {
    let changes = ChannelChanges {
        name: body.name,
        description: body.description,
        is_public: body.is_public,
        is_vc: body.is_vc,
    };
    Ok(axum::Json(Channel::from(&app.ops.update_channel(&actor, ChannelId(id), changes).await?)))
}

pub(super) async fn delete(State(app): State<App>, by: Admin, Id(id): Id<i64>) -> Answer<StatusCode> {
    app.ops.delete_channel(&by, ChannelId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn member(app: &App, viewer: &Actor, member: &CoreMember) -> Member {
    Member {
        user: user_for(app, viewer, &member.user),
        role: member.role.into(),
        joined_at: member.joined_at.into(),
    }
}

pub(super) async fn members(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<List<Member>>> {
    let page = app.ops.members(&actor, ChannelId(id), params.request()?).await?;
    let items = page.items.iter().map(|found| member(&app, &actor, found)).collect();
    Ok(axum::Json(List { items, has_more: page.has_more, extensions_omitted: Vec::new() }))
}

pub(super) async fn add_member(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Json(body): Json<AddMember>,
) -> Answer<(StatusCode, axum::Json<Member>)> {
    let role = body.role.map(Into::into);
    let (added, is_new) = app.ops.add_member(&actor, ChannelId(id), UserId(body.user_id), role).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(member(&app, &actor, &added))))
}

pub(super) async fn update_member(
    State(app): State<App>,
    As(actor): As,
    Id((id, user_id)): Id<(i64, i64)>,
    Json(body): Json<UpdateMember>,
) -> Answer<axum::Json<Member>> {
    let changed = app.ops.set_role(&actor, ChannelId(id), UserId(user_id), body.role.into()).await?;
    Ok(axum::Json(member(&app, &actor, &changed)))
}

pub(super) async fn remove_member(
    State(app): State<App>,
    As(actor): As,
    Id((id, user_id)): Id<(i64, i64)>,
) -> Answer<StatusCode> {
    app.ops.remove_member(&actor, ChannelId(id), UserId(user_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct RemoveParams {
    /// Whom; oneself to leave.
    user_id: i64,
}

pub(super) async fn remove_member_by_query(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Params(params): Params<RemoveParams>,
) -> Answer<StatusCode> {
    app.ops.remove_member(&actor, ChannelId(id), UserId(params.user_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn mark_read(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Json(body): Json<MarkRead>,
) -> Answer<StatusCode> {
    app.ops.mark_read(&actor, ChannelId(id), MessageId(body.message_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag(
        "Channels",
        "Public channels can be read by everyone who is logged in and written to by members; private ones are \
         known to members only.",
    );
    doc.get("/api/channels", list).says(
        "List channels",
        "The public ones and those one is a member of. `query` is looked for in their names.",
    );
    doc.post("/api/channels", create)
        .says("Make a channel", "Who makes it is its owner. A direct message is one per set of people.")
        .answers(201, "The new channel.")
        .answers(200, "The direct message that these people have already.");
    doc.get("/api/channels/{id}", get).says("Get a channel", "").refuses(404, &["channel_not_found"]);
    doc.change("/api/channels/{id}", update)
        .says("Change a channel", "For its admins.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found"]);
    doc.delete("/api/channels/{id}", delete)
        .says("Delete a channel", "For its owners. Its messages go with it.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found"]);
    doc.get("/api/channels/{id}/members", members)
        .says("List a channel's members", "By rising user id.")
        .refuses(404, &["channel_not_found"]);
    doc.post("/api/channels/{id}/members", add_member)
        .says("Add a member", "Oneself: join a public channel. Others: for admins.")
        .answers(201, "The new member.")
        .answers(200, "The user was a member already.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "user_not_found"]);
    doc.delete("/api/channels/{id}/members", remove_member_by_query)
        .says("Remove a member", "The same as `DELETE /api/channels/{id}/members/{user_id}`.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "member_not_found"])
        .refuses(409, &["last_owner"]);
    doc.change("/api/channels/{id}/members/{user_id}", update_member)
        .says("Change a member's role", "For admins; only owners make owners.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "member_not_found"])
        .refuses(409, &["last_owner"]);
    doc.delete("/api/channels/{id}/members/{user_id}", remove_member)
        .says("Remove a member", "Oneself: leave. Others: for admins. The last owner can't go.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "member_not_found"])
        .refuses(409, &["last_owner"]);
    doc.put("/api/channels/{id}/read", mark_read)
        .says("Mark messages as read", "Up to this one. The mark never goes back.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "member_not_found", "message_not_found"]);
}
