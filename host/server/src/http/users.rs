//! `/api/users/…`

use axum::{
    body::Body,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartRejection},
    },
    response::IntoResponse,
};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use patchbay_core::{Actor, User as CoreUser, UserId, VisiblePresence};
use patchbay_protocol::{List, SetStatus, UpdateMe, User};
use serde::Deserialize;

use super::{
    Failure,
    extract::{As, Id, Json, PageParams, Params},
    files::{next_field, no_file, not_a_form},
};
use crate::{
    app::App,
    ops::{Caller, ProfileChanges},
    picture,
};

type Answer<T> = Result<axum::Json<T>, Failure>;

/// A user as the actor sees them.
pub(super) fn user_for(app: &App, viewer: &Actor, user: &CoreUser) -> User {
    let is_self = viewer.user_id() == Some(user.id);
    if is_self {
        return User::own(user);
    }
    let is_here = app.online.contains(user.id);
    let seen = VisiblePresence::of(user.id, user.status, user.last_seen, is_here);
    User::seen(user, seen.status, seen.last_seen, viewer.is_superuser())
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

pub(super) async fn set_picture(
    State(app): State<App>,
    caller: Caller,
    form: Result<Multipart, MultipartRejection>,
) -> Answer<User> {
    let mut form = form.map_err(|rejection| not_a_form(&rejection))?;
    while let Some(field) = next_field(&mut form).await? {
        if field.name() == Some("file") {
            let bytes = picture_bytes(field).await?;
            let user = app.ops.set_picture(&caller, Some(bytes)).await?;
            return Ok(axum::Json(user_for(&app, &caller.actor, &user)));
        }
    }
    Err(no_file())
}

async fn picture_bytes(mut field: Field<'_>) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    loop {
        match field.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes.freeze()),
            Err(error) => return Err(Failure::field("file", "cut_off", error.body_text())),
        }
        if bytes.len() > picture::MAX_BYTES {
            let why = format!("a picture may have {} bytes", picture::MAX_BYTES);
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why));
        }
    }
}

pub(super) async fn remove_picture(State(app): State<App>, caller: Caller) -> Result<StatusCode, Failure> {
    app.ops.set_picture(&caller, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn picture(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
) -> Result<impl IntoResponse, Failure> {
    let (name, content) = app.ops.picture(&actor, UserId(id)).await?;
    let headers = [
        (header::CONTENT_TYPE, "image/png".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "private, max-age=300".to_owned()),
        (header::ETAG, format!("\"{}\"", name.replace('/', "-"))),
    ];
    Ok((headers, Body::from_stream(content)))
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
