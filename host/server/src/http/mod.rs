//! REST: parse, call one operation, answer.
//!
//! Owns: paths, statuses, headers. Must not: touch the store or decide who may do what.

mod accounts;
mod admin;
mod auth;
mod body;
mod channels;
mod client;
mod commands;
mod compression;
mod control;
mod drain;
mod edge;
mod extract;
mod files;
mod head;
mod headers;
mod listen;
mod messages;
mod openapi;
mod plugin_care;
mod plugins;
mod problem;
mod search;
mod users;
mod voice;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodFilter, MethodRouter, get, on, post},
};

use crate::{app::App, gateway};

pub(crate) use admin::SIGNATURE;
pub use control::Operator;
pub use extract::{Id, bearer};
pub use listen::{Connections, serve};
pub use openapi::{ApiDocument, Document, Operation};
pub use problem::Failure;

/// Most bytes of a JSON body.
const MAX_BODY: usize = 1024 * 1024;
const METRICS: &str = "/metrics";
/// Most bytes of a component.
const MAX_COMPONENT: usize = 64 * 1024 * 1024;

/// Routes and the list of their paths, which no plugin may claim.
#[derive(Default)]
struct Routes {
    router: Router<App>,
    paths: Vec<&'static str>,
}

impl Routes {
    fn add(mut self, path: &'static str, methods: MethodRouter<App>) -> Self {
        self.paths.push(path);
        self.router = self.router.route(path, methods.fallback(problem::method_not_allowed));
        self
    }
}

/// `PATCH`, and `PUT` as the same.
fn change<H, T>(handler: H) -> MethodRouter<App>
where
    H: axum::handler::Handler<T, App>,
    T: 'static,
{
    on(MethodFilter::PATCH.or(MethodFilter::PUT), handler)
}

/// The paths that the host itself serves.
pub fn native_paths() -> Vec<&'static str> {
    let mut paths = routes().paths;
    paths.push(METRICS);
    paths
}

fn routes() -> Routes {
    Routes::default()
        .add("/healthz", get(edge::healthz))
        .add("/readyz", get(edge::readyz))
        .add("/api/auth/register", post(auth::register))
        .add("/api/auth/login", post(auth::login))
        .add("/api/auth/refresh", post(auth::refresh))
        .add("/api/auth/logout", post(auth::logout))
        .add("/api/auth/sessions", get(auth::sessions))
        .add("/api/auth/sessions/{id}", axum::routing::delete(auth::end_session))
        .add("/api/users", get(users::list))
        .add("/api/users/me", get(users::me).merge(change(users::update_me)))
        .add("/api/users/me/status", get(users::my_status).put(users::set_my_status))
        .add(
            "/api/users/me/profile-picture",
            post(users::set_picture)
                .put(users::set_picture)
                .delete(users::remove_picture)
                .layer(DefaultBodyLimit::disable()),
        )
        .add("/api/users/{id}", get(users::get))
        .add("/api/users/{id}/profile-picture", get(users::picture))
        .add("/api/channels", get(channels::list).post(channels::create))
        .add(
            "/api/channels/{id}",
            get(channels::get).merge(change(channels::update)).delete(channels::delete),
        )
        .add(
            "/api/channels/{id}/members",
            get(channels::members).post(channels::add_member).delete(channels::remove_member_by_query),
        )
        .add(
            "/api/channels/{id}/members/{user_id}",
            change(channels::update_member).delete(channels::remove_member),
        )
        .add("/api/channels/{id}/read", axum::routing::put(channels::mark_read))
        .add("/api/channels/{id}/voice", get(voice::list))
        .add("/api/channels/{id}/voice/{user_id}", change(voice::update).delete(voice::remove))
        .add("/api/channels/{id}/pins", get(messages::pins))
        .add(
            "/api/channels/{id}/pins/{message_id}",
            axum::routing::put(messages::pin).delete(messages::unpin),
        )
        .add("/api/channels/{id}/messages", get(messages::list).post(messages::post))
        .add("/api/messages/{id}", get(messages::get).merge(change(messages::edit)).delete(messages::delete))
        .add("/api/messages/{id}/thread", get(messages::thread))
        .add("/api/messages/{id}/history", get(messages::history))
        .add("/api/files/upload", post(files::upload).layer(DefaultBodyLimit::disable()))
        .add("/api/files/{id}", get(files::get).delete(files::delete))
        .add("/api/files/{id}/download", get(files::download))
        .add("/api/files/{id}/thumbnail", get(files::thumbnail))
        .add("/api/admin/users", get(accounts::users))
        .add("/api/admin/users/{id}", change(accounts::update_user))
        .add("/api/admin/invites", get(accounts::invites).post(accounts::create_invite))
        .add("/api/admin/invites/{id}", axum::routing::delete(accounts::revoke_invite))
        .add("/api/admin/audit", get(accounts::audit))
        .add("/api/admin/plugins", get(admin::plugins))
        .add(
            "/api/admin/plugins/{name}",
            get(admin::plugin)
                .put(admin::put_plugin)
                .patch(admin::update_plugin)
                .delete(plugin_care::remove)
                .layer(DefaultBodyLimit::max(MAX_COMPONENT)),
        )
        .add("/api/admin/plugins/{name}/rollback", post(plugin_care::roll_back))
        .add("/api/admin/plugins/{name}/backfill", post(plugin_care::backfill))
        .add("/api/admin/plugins/{name}/log", get(plugin_care::log))
        .add("/api/admin/plugins/{name}/dead-letters", get(plugin_care::dead_letters))
        .add("/api/admin/plugins/{name}/redeliver", post(plugin_care::redeliver))
        .add("/api/admin/search", get(search::index))
        .add("/api/admin/search/reindex", post(search::reindex))
        .add("/api/commands", get(commands::commands).post(commands::run))
        .add("/api/commands/complete", get(commands::complete))
        .add("/api/openapi.json", get(openapi::document))
        .add("/api/docs", get(openapi::page))
        .add("/api/docs/{file}", get(openapi::asset))
        .add("/ws/chat", get(gateway::chat))
        .add("/ws/presence", get(gateway::presence))
        .add("/ws/voice/{channel_id}", get(gateway::voice))
}

/// What each area says of its endpoints, in the order in which they are shown.
fn describe(document: &mut openapi::Document) {
    auth::describe(document);
    users::describe(document);
    channels::describe(document);
    messages::describe(document);
    files::describe(document);
    gateway::describe(document);
    voice::describe(document);
    commands::describe(document);
    admin::describe(document);
    plugin_care::describe(document);
    search::describe(document);
    accounts::describe(document);
    edge::describe(document);
    openapi::describe(document);
}

/// The whole HTTP surface.
pub fn router(app: App) -> Router {
    serving(routes(), app)
}

/// The same for the operator at the machine, who needs no token, and what only the operator may do.
pub fn control_router(app: App) -> Router {
    let routes = routes()
        .add("/control/users", post(control::create_user))
        .add("/control/users/{user}", get(control::user))
        .add("/control/users/{user}/password", axum::routing::put(control::set_password))
        .add("/control/keys/rotate", post(control::rotate_keys))
        .add("/control/keys/rekey", post(control::rekey));
    serving(routes, app).layer(Extension(Operator))
}

fn serving(routes: Routes, app: App) -> Router {
    let router = routes
        .router
        .fallback(plugins::dispatch)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(edge::note_route));
    // With an address of its own it is not here, where everybody comes.
    let router = match app.config.metrics.listen {
        Some(_) => router,
        None => router.merge(metrics()),
    };
    edge::layers(router.with_state(app.clone()), &app)
}

/// `/metrics` alone.
pub fn metrics_router(app: App) -> Router {
    edge::layers(metrics().fallback(problem::not_found).with_state(app.clone()), &app)
}

fn metrics() -> Router<App> {
    Routes::default().add(METRICS, get(edge::metrics)).router
}
