//! `/api/auth/…`

use axum::extract::{Request, State};
use http::StatusCode;
use patchbay_core::SessionId;
use patchbay_protocol::{List, Login, Refresh, Register, Session, Tokens, User};

use super::{
    Failure,
    extract::{self, From, Id, Json, PageParams, Params},
    openapi::Document,
};
use crate::{
    app::App,
    ops::{Caller, Device, LoggedIn, Registration},
};

type Answer<T> = Result<T, Failure>;

pub(super) async fn register(
    State(app): State<App>,
    From(address): From,
    Json(body): Json<Register>,
) -> Answer<(StatusCode, axum::Json<User>)> {
    let new = Registration {
        username: body.username,
        email: body.email,
        password: body.password,
        full_name: body.full_name,
        bootstrap_token: body.bootstrap_token,
        invite_token: body.invite_token,
    };
    let user = app.ops.register(new, address).await?;
    Ok((StatusCode::CREATED, axum::Json(User::own(&user))))
}

pub(super) async fn login(
    State(app): State<App>,
    From(address): From,
    device: Device,
    request: Request,
) -> Answer<axum::Json<Tokens>> {
    let body: Login = if extract::is_form(request.headers()) {
        let bytes = extract::body(request, &app).await?;
        parse_form(&bytes)?
    } else {
        let Json(body) =
            <Json<Login> as axum::extract::FromRequest<App>>::from_request(request, &app).await?;
        body
    };
    let logged_in = app.ops.login(&body.username, body.password, &address, device).await?;
    Ok(axum::Json(tokens(logged_in)))
}

/// The form that OAuth2 clients of the seed send: `username`, `password`, and fields that mean nothing here.
fn parse_form(bytes: &[u8]) -> Answer<Login> {
    let (mut username, mut password) = (None, None);
    for (name, value) in form_urlencoded::parse(bytes) {
        match &*name {
            "username" => username = Some(value.into_owned()),
            "password" => password = Some(value.into_owned()),
            "grant_type" | "scope" | "client_id" | "client_secret" => {}
            other => return Err(Failure::field(other, "unknown_field", "is not known")),
        }
    }
    match (username, password) {
        (Some(username), Some(password)) => Ok(Login { username, password }),
        (None, _) => Err(Failure::field("username", "missing", "is needed")),
        (_, None) => Err(Failure::field("password", "missing", "is needed")),
    }
}

pub(super) async fn refresh(
    State(app): State<App>,
    From(address): From,
    Json(body): Json<Refresh>,
) -> Answer<axum::Json<Tokens>> {
    Ok(axum::Json(tokens(app.ops.refresh(&body.refresh_token, &address).await?)))
}

pub(super) async fn logout(State(app): State<App>, caller: Caller) -> Answer<StatusCode> {
    app.ops.logout(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn sessions(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<List<Session>>> {
    let (sessions, has_more) = params.of(app.ops.sessions(&caller).await?, |session| session.id.0)?;
    let items = sessions
        .into_iter()
        .map(|session| Session {
            id: session.id.0,
            current: session.id == caller.session_id,
            user_agent: session.user_agent,
            ip: session.ip,
            created_at: session.created_at.into(),
            last_used_at: session.last_used_at.into(),
            expires_at: session.expires_at.into(),
        })
        .collect();
    Ok(axum::Json(List { items, has_more, extensions_omitted: Vec::new() }))
}

pub(super) async fn end_session(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<i64>,
) -> Answer<StatusCode> {
    app.ops.end_session(&caller, SessionId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tokens(logged_in: LoggedIn) -> Tokens {
    Tokens {
        access_token: logged_in.access_token,
        refresh_token: logged_in.refresh_token,
        token_type: "bearer",
        expires_in: logged_in.expires_in.as_secs(),
        user: User::own(&logged_in.user),
    }
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Authentication", "Accounts, logins and the sessions that they begin.");
    doc.post("/api/auth/register", register)
        .says(
            "Make an account",
            "The first account becomes superuser when it is made from the server's own machine or with the \
             `bootstrap_token` that the server prints until there is one. Whether others may register is the operator's \
             choice: everyone, nobody, or who gives an `invite_token`.",
        )
        .answers(201, "The account.")
        .refuses(
            403,
            &[
                "forbidden",
                "invite_required",
                "invite_invalid",
                "invite_expired",
                "invite_used",
                "invite_for_another",
            ],
        )
        .refuses(409, &["username_taken", "email_taken"]);
    doc.post("/api/auth/login", login)
        .says("Log in", "Begins a session. `username` may be the e-mail address.")
        .takes_json::<Login>("application/json")
        .takes(
            "application/x-www-form-urlencoded",
            &serde_json::json!({
                "type": "object",
                "properties": {
                    "username": { "type": "string" },
                    "password": { "type": "string", "format": "password" },
                    "grant_type": { "type": "string" },
                    "scope": { "type": "string" },
                    "client_id": { "type": "string" },
                    "client_secret": { "type": "string" },
                },
                "required": ["username", "password"],
                "additionalProperties": false,
            }),
        )
        .refuses(400, &["malformed_json", "incomplete_body"])
        .refuses(401, &["invalid_credentials"])
        .refuses(413, &["too_large"])
        .refuses(415, &["unsupported_media_type"])
        .refuses(422, &["validation_failed"]);
    doc.post("/api/auth/refresh", refresh)
        .says(
            "Trade a refresh token for a new pair",
            "The old token stays good until the new pair is first used, so a lost answer harms nobody. Used \
             after that, it ends the session.",
        )
        .refuses(401, &["unauthenticated", "refresh_token_reused"]);
    doc.post("/api/auth/logout", logout)
        .says("Log out", "Ends the session: its tokens stop working at once and its sockets close.");
    doc.get("/api/auth/sessions", sessions).says("List one's own sessions", "");
    doc.delete("/api/auth/sessions/{id}", end_session)
        .says("End one of one's own sessions", "")
        .refuses(404, &["session_not_found"]);
}
