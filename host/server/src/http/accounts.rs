//! `/api/admin/users`, `/api/admin/invites`, `/api/admin/audit`

use axum::{extract::State, response::IntoResponse};
use http::StatusCode;
use patchbay_core::{Timestamp, UserId};
use patchbay_protocol::{AuditActor, AuditEntry, CreateInvite, Invite, List, UpdateUser, User};
use patchbay_store::{self as store, AuditRow, InviteRow};
use serde::Deserialize;

use super::{
    Failure,
    extract::{Id, Json, PageParams, Params},
    users::{ListParams, user_for},
};
use crate::{
    app::App,
    ops::{Admin, AuditFilter, Invitation, StandingChanges},
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
) -> Result<impl IntoResponse, Failure> {
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

#[derive(Deserialize)]
pub(super) struct AuditParams {
    action: Option<String>,
    actor: Option<String>,
    limit: Option<i64>,
    before: Option<i64>,
    after: Option<i64>,
}

pub(super) async fn audit(
    State(app): State<App>,
    by: Admin,
    Params(params): Params<AuditParams>,
) -> Answer<List<AuditEntry>> {
    let actor = match params.actor.as_deref() {
        None => None,
        Some("operator") => Some(store::AuditActor::Operator),
        Some(id) => match id.parse() {
            Ok(id) => Some(store::AuditActor::User(UserId(id))),
            Err(_) => return Err(Failure::field("actor", "invalid", "must be a user's id or \"operator\"")),
        },
    };
    let page = PageParams { limit: params.limit, before: params.before, after: params.after };
    let filter = AuditFilter { action: params.action, actor };
    let page = app.ops.audit_log(&by, filter, page.request()?).await?;
    Ok(list(page.items.into_iter().map(entry).collect(), page.has_more))
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
