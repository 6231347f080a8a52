//! `/api/admin/users`, `/api/admin/invites`, `/api/admin/audit`

use axum::extract::State;
use http::StatusCode;
use patchbay_core::{Timestamp, UserId};
use patchbay_protocol::{AuditActor, AuditEntry, CreateInvite, Invite, List, UpdateUser, User};
use patchbay_store::{self as store, AuditRow, InviteRow};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Failure,
    extract::{Id, Json, PageParams, Params},
    openapi::Document,
    users::{ListParams, user_for},
};
use crate::{
    app::App,
    ops::{Admin, AuditFilter, Invitation, MAX_PAGE, StandingChanges},
};

type Answer<T> = Result<axum::Json<T>, Failure>;

fn list<T>(items: Vec<T>, has_more: bool) -> axum::Json<List<T>> {
    axum::Json(List { items, has_more, extensions_omitted: Vec::new() })
}

pub(super) async fn users(
    State(app): State<App>,
    by: Admin,
    Params(params): Params<ListParams>,
) -> Answer<List<User>> {
    let text = params.query()?.unwrap_or_default();
    let page = app.ops.accounts(&by, text, params.page().request()?).await?;
    Ok(list(page.items.iter().map(|user| user_for(&app, &by.actor, user)).collect(), page.has_more))
}

pub(super) async fn update_user(
    State(app): State<App>,
    by: Admin,
    Id(id): Id<i64>,
    Json(body): Json<UpdateUser>,
) -> Answer<User> {
    let changes = StandingChanges { is_active: body.is_active, is_superuser: body.is_superuser };
    let user = app.ops.set_standing(&by, UserId(id), changes).await?;
    Ok(axum::Json(user_for(&app, &by.actor, &user)))
}

fn shown(invite: InviteRow, token: Option<String>) -> Invite {
    Invite {
        id: invite.id,
        token,
        email: invite.email,
        max_uses: invite.max_uses,
        uses: invite.uses,
        created_by_id: invite.created_by_id.map(|id| id.0),
        created_at: invite.created_at.into(),
        expires_at: invite.expires_at.into(),
    }
}

pub(super) async fn create_invite(
    State(app): State<App>,
    by: Admin,
    Json(body): Json<CreateInvite>,
) -> Result<(StatusCode, axum::Json<Invite>), Failure> {
    let wanted = Invitation {
        expires_in: body.expires_in,
        expires_at: body.expires_at.map(|at| at.0),
        max_uses: body.max_uses,
        email: body.email,
    };
    let (invite, token) = app.ops.invite(&by, wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(shown(invite, Some(token)))))
}

pub(super) async fn invites(
    State(app): State<App>,
    by: Admin,
    Params(page): Params<PageParams>,
) -> Answer<List<Invite>> {
    let page = app.ops.invites(&by, page.request()?).await?;
    Ok(list(page.items.into_iter().map(|invite| shown(invite, None)).collect(), page.has_more))
}

pub(super) async fn revoke_invite(
    State(app): State<App>,
    by: Admin,
    Id(id): Id<i64>,
) -> Result<StatusCode, Failure> {
    app.ops.revoke_invite(&by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct AuditParams {
    /// Only acts of this kind, e.g. `user.deactivated`.
    action: Option<String>,
    /// Only acts of this user, or of the `operator` at the machine.
    #[schemars(regex(pattern = "^(operator|[0-9]{1,18})$"))]
    actor: Option<String>,
    /// How many.
    #[schemars(range(min = 1, max = MAX_PAGE), extend("default" = 50))]
    limit: Option<i64>,
    /// Only ids below this one.
    #[schemars(range(min = 0))]
    before: Option<i64>,
    /// Only ids above this one; not with `before`.
    #[schemars(range(min = 0))]
    after: Option<i64>,
}

pub(super) async fn audit(
    State(app): State<App>,
    by: Admin,
    Params(params): Params<AuditParams>,
) -> Answer<List<AuditEntry>> {
    let actor = params.actor.as_deref().map(actor).transpose()?;
    let page = PageParams { limit: params.limit, before: params.before, after: params.after };
    let filter = AuditFilter { action: params.action, actor };
    let page = app.ops.audit_log(&by, filter, page.request()?).await?;
    Ok(list(page.items.into_iter().map(entry).collect(), page.has_more))
}

fn actor(text: &str) -> Result<store::AuditActor, Failure> {
    if text == "operator" {
        return Ok(store::AuditActor::Operator);
    }
    let is_number = (1..=18).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    match text.parse() {
        Ok(id) if is_number => Ok(store::AuditActor::User(UserId(id))),
        _ => Err(Failure::field("actor", "format", "must be a user's id or \"operator\"")),
    }
}

fn entry(row: AuditRow) -> AuditEntry {
    AuditEntry {
        id: row.id,
        action: row.action,
        actor: row.actor_id.map(|id| AuditActor { id, username: row.actor_username.unwrap_or_default() }),
        target: row.target,
        // It was serialised when it was written.
        detail: serde_json::from_str(&row.detail).unwrap_or_default(),
        ip: row.ip,
        created_at: Timestamp(row.created_at).into(),
    }
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Administration", "For superusers.");
    doc.get("/api/admin/users", users)
        .says(
            "List all accounts",
            "By rising id. `query` is looked for in usernames, full names and e-mail addresses.",
        )
        .refuses(403, &["forbidden"]);
    doc.change("/api/admin/users/{id}", update_user)
        .says(
            "Activate, deactivate, promote or demote",
            "A deactivated user's sessions end and their sockets close with 4401 at once.",
        )
        .refuses(403, &["forbidden"])
        .refuses(404, &["user_not_found"])
        .refuses(409, &["last_superuser"]);
    doc.get("/api/admin/invites", invites)
        .says("List invitations", "Newest first, with those that expired in the last 30 days.")
        .refuses(403, &["forbidden"]);
    doc.post("/api/admin/invites", create_invite)
        .says("Make an invitation", "The answer is the only place that shows its token.")
        .answers(201, "The invitation.")
        .refuses(403, &["forbidden"]);
    doc.delete("/api/admin/invites/{id}", revoke_invite)
        .says("Take an invitation back", "Accounts made with it stay.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["invite_not_found"]);
    doc.get("/api/admin/audit", audit)
        .says(
            "Read the log of administrative acts",
            "Newest first. It is kept for ever and holds no secrets.",
        )
        .refuses(403, &["forbidden"]);
}
