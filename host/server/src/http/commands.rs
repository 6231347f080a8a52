//! `/api/commands`

use axum::extract::State;
use patchbay_core::ChannelId;
use patchbay_protocol::{Command, CommandAnswer, List, RunCommand};
use patchbay_runtime::{CallError, HostErrorKind};

use super::{
    Failure,
    extract::{As, Json, PageParams, Params},
    openapi::{Document, OF_PLUGINS},
    plugins::failure,
};
use crate::{app::App, ops::plugins::CommandError};

pub(super) async fn commands(
    State(app): State<App>,
    As(_): As,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<List<Command>>, Failure> {
    params.request()?;
    // They have names and no ids to page by.
    let params = PageParams { before: None, after: None, ..params };
    let (commands, has_more) = params.of(app.plugins.commands(), |_| 0)?;
    let items = commands
        .into_iter()
        .map(|command| Command {
            name: command.name,
            description: command.description,
            usage: command.usage,
            plugin: command.plugin,
        })
        .collect();
    Ok(axum::Json(List { items, has_more, extensions_omitted: Vec::new() }))
}

pub(super) async fn run(
    State(app): State<App>,
    As(caller): As,
    Json(body): Json<RunCommand>,
) -> Result<axum::Json<CommandAnswer>, Failure> {
    match app.plugins.run_command(&caller, ChannelId(body.channel_id), &body.text).await {
        Ok(answer) => Ok(axum::Json(CommandAnswer {
            command: answer.command,
            plugin: answer.plugin,
            text: answer.text,
        })),
        Err(CommandError::Refused(error)) => Err(error.into()),
        Err(CommandError::Failed(CallError::Refused(refusal))) if is_the_callers(refusal.kind) => {
            Err(Failure::refused("command_refused", "text", &refusal.code, &refusal.detail))
        }
        Err(CommandError::Failed(error)) => Err(failure(&error)),
    }
}

/// Whatever the plugin says of the command, to the host it was one that it could hand over.
fn is_the_callers(kind: HostErrorKind) -> bool {
    use HostErrorKind::{Conflict, Forbidden, Internal, Invalid, LimitExceeded, NotFound, Unavailable};
    match kind {
        NotFound | Forbidden | Invalid | Conflict => true,
        LimitExceeded | Unavailable | Internal => false,
    }
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Commands", "Slash commands, answered by plugins.");
    doc.get("/api/commands", commands).says("List commands", "By name.");
    let mut run = doc
        .post("/api/commands", run)
        .says(
            "Run a command",
            "The answer is for the caller; what everybody is to see, the plugin posts as a message.",
        )
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "command_not_found"])
        .refuses(422, &["command_refused"]);
    for (status, codes) in OF_PLUGINS {
        run = run.refuses(*status, codes);
    }
}
