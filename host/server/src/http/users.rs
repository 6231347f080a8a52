//! `/api/users/…`

use axum::{
    body::Body,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartRejection},
    },
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use patchbay_core::{Actor, User as CoreUser, UserId, VisiblePresence};
use patchbay_protocol::{List, SetStatus, UpdateMe, User};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Failure,
    extract::{As, Id, Json, PageParams, Params},
    files::{matches, next_field, no_file, not_a_form, takes_file},
    openapi::Document,
};
use crate::{
    app::App,
    ops::{Caller, MAX_PAGE, ProfileChanges},
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

#[derive(Deserialize, JsonSchema)]
pub(super) struct ListParams {
    /// What the name contains, without regard to case.
    #[schemars(length(max = 100))]
    query: Option<String>,
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
    asked: HeaderMap,
) -> Result<Response, Failure> {
    let (name, content) = app.ops.picture(&actor, UserId(id)).await?;
    let etag = format!("\"{}\"", name.replace('/', "-"));
    let is_known = matches(&asked, &etag);
    let headers = [
        (header::CONTENT_TYPE, "image/png".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "private, max-age=300".to_owned()),
        (header::ETAG, etag),
    ];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Body::from_stream(content)).into_response())
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

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Users", "People and bots.");
    doc.get("/api/users", list)
        .says("List or search users", "By rising id. `query` is looked for in usernames and full names.");
    doc.get("/api/users/me", me).says("Get one's own account", "");
    doc.change("/api/users/me", update_me)
        .says("Change one's own account", "A new password ends one's other sessions.")
        .refuses(409, &["username_taken", "email_taken"]);
    doc.get("/api/users/me/status", my_status).says("Get the status that one chose", "");
    doc.put("/api/users/me/status", set_my_status).says(
        "Choose a status",
        "It is kept. Others see `offline` while no socket is open; `offline` is invisible.",
    );
    takes_file(doc.put("/api/users/me/profile-picture", set_picture))
        .says("Set one's profile picture", "PNG, JPEG, WebP or GIF. It is decoded and encoded anew.")
        .also("post");
    doc.delete("/api/users/me/profile-picture", remove_picture).says("Remove one's profile picture", "");
    doc.get("/api/users/{id}", get).says("Get a user", "").refuses(404, &["user_not_found"]);
    let headers = json!({
        "ETag": { "$ref": "#/components/headers/ETag" },
        "X-Content-Type-Options": { "$ref": "#/components/headers/X-Content-Type-Options" },
    });
    doc.get("/api/users/{id}/profile-picture", picture)
        .says("Get a user's profile picture", "")
        .header("If-None-Match", &json!({ "type": "string" }), "An `ETag`: 304 if it still fits.")
        .answers_with(
            200,
            "The picture.",
            json!({ "image/png": { "schema": { "type": "string", "format": "binary" } } }),
            headers.clone(),
        )
        .answers_with(304, "It has not changed.", serde_json::Value::Null, headers)
        .refuses(404, &["user_not_found", "profile_picture_not_found"]);
}
