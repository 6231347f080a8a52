//! `/api/users/…`

use axum::extract::State;
use patchbay_core::{Actor, Status, User as CoreUser, UserId};
use patchbay_protocol::{List, SetStatus, UpdateMe, User};
use serde::Deserialize;

use super::{
    Failure,
    extract::{As, Id, Json, PageParams, Params},
};
use crate::{
    app::App,
    ops::{Caller, ProfileChanges},
};

type Answer<T> = Result<axum::Json<T>, Failure>;

/// A user as the actor sees them: others are offline while no socket of theirs is open.
pub(super) fn user_for(app: &App, viewer: &Actor, user: &CoreUser) -> User {
    let is_self = viewer.user_id() == Some(user.id);
    let status = if is_self || app.online.contains(user.id) { user.status } else { Status::Offline };
    let mut seen = User::seen(user, status, is_self || viewer.is_superuser());
    if !is_self && user.status == Status::Offline {
        // Who chose to be invisible is not given away by the time.
        seen.last_seen = Some(None);
    }
    seen
}

#[derive(Deserialize)]
pub(super) struct ListParams {
    query: Option<String>,
    limit: Option<i64>,
    before: Option<i64>,
    after: Option<i64>,
}

impl ListParams {
    pub(super) fn page(&self) -> PageParams {
        PageParams { limit: self.limit, before: self.before, after: self.after }
    }

    /// The text to look for; too long a text finds nothing but trouble.
    pub(super) fn query(&self) -> Result<Option<&str>, Failure> {
        match self.query.as_deref() {
            Some(text) if text.chars().count() > 100 => {
                Err(Failure::field("query", "length", "may have at most 100 characters"))
            }
            other => Ok(other),
        }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    As(actor): As,
    Params(params): Params<ListParams>,
) -> Answer<List<User>> {
    let text = params.query()?.unwrap_or_default();
    let page = app.ops.users(&actor, text, params.page().request()?).await?;
    let items = page.items.iter().map(|user| user_for(&app, &actor, user)).collect();
    Ok(axum::Json(List { items, has_more: page.has_more, extensions_omitted: Vec::new() }))
}

pub(super) async fn get(State(app): State<App>, As(actor): As, Id(id): Id<i64>) -> Answer<User> {
    let user = app.ops.user(&actor, UserId(id)).await?;
    Ok(axum::Json(user_for(&app, &actor, &user)))
}

pub(super) async fn me(State(app): State<App>, caller: Caller) -> Answer<User> {
    let user = app.ops.user(&caller.actor, caller.user_id).await?;
    Ok(axum::Json(user_for(&app, &caller.actor, &user)))
}

pub(super) async fn update_me(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<UpdateMe>,
) -> Answer<User> {
    let changes = ProfileChanges {
        username: body.username,
        email: body.email,
        full_name: body.full_name,
        password: body.password.map(|change| (change.current, change.new)),
    };
    let user = app.ops.update_me(&caller, changes).await?;
    Ok(axum::Json(user_for(&app, &caller.actor, &user)))
}

pub(super) async fn my_status(State(app): State<App>, caller: Caller) -> Answer<SetStatus> {
    let user = app.ops.user(&caller.actor, caller.user_id).await?;
    Ok(axum::Json(SetStatus { status: user.status.into() }))
}

pub(super) async fn set_my_status(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<SetStatus>,
) -> Answer<SetStatus> {
    app.ops.set_status(&caller.actor, body.status.into()).await?;
    Ok(axum::Json(body))
}
