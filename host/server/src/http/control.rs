//! `/control/…`: what only the operator at the machine may do. These paths exist on the control socket alone.

use axum::{extract::State, response::IntoResponse};
use http::StatusCode;
use patchbay_core::UserId;
use patchbay_protocol::{CreateUser, Rekey, SetPassword, User};

use super::{
    Failure,
    extract::{Id, Json},
    users::user_for,
};
use crate::{
    app::App,
    auth::seal::MasterKey,
    ops::{Admin, Registration},
};

/// Marks a request that came by the control socket, or from the command line to a server that isn't running.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

pub(super) async fn create_user(
    State(app): State<App>,
    by: Admin,
    Json(body): Json<CreateUser>,
) -> Result<impl IntoResponse, Failure> {
    let new = Registration {
        username: body.username,
        email: body.email,
        password: body.password,
        full_name: body.full_name,
        bootstrap_token: None,
        invite_token: None,
    };
    let user = app.ops.create_account(&by, new, body.is_superuser).await?;
    Ok((StatusCode::CREATED, axum::Json(user_for(&app, &by.actor, &user))))
}

/// By name or address.
pub(super) async fn user(
    State(app): State<App>,
    by: Admin,
    Id(login): Id<String>,
) -> Result<axum::Json<User>, Failure> {
    let user = app.ops.account(&by, &login).await?;
    Ok(axum::Json(user_for(&app, &by.actor, &user)))
}

pub(super) async fn set_password(
    State(app): State<App>,
    by: Admin,
    Id(id): Id<i64>,
    Json(body): Json<SetPassword>,
) -> Result<StatusCode, Failure> {
    app.ops.reset_password(&by, UserId(id), body.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rotate_keys(
    State(app): State<App>,
    by: Admin,
) -> Result<axum::Json<serde_json::Value>, Failure> {
    let kid = app.ops.rotate_signing_key(&by).await?;
    Ok(axum::Json(serde_json::json!({ "kid": kid })))
}

pub(super) async fn rekey(
    State(app): State<App>,
    by: Admin,
    Json(body): Json<Rekey>,
) -> Result<axum::Json<serde_json::Value>, Failure> {
    let wrong = || Failure::field("new_key", "format", "must be 32 bytes in base64");
    let given = match body.new_key {
        Some(text) => Some(MasterKey::parse(&text).ok_or_else(wrong)?),
        None => None,
    };
    let (id, is_kept) = app.ops.change_master_key(&by, given).await?;
    Ok(axum::Json(serde_json::json!({ "id": id, "is_kept": is_kept })))
}
