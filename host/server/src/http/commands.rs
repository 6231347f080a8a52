//! `/api/commands`

use axum::extract::State;
use patchbay_core::ChannelId;
use patchbay_protocol::{Command, CommandAnswer, CommandSuggestion, CommandSuggestions, List, RunCommand};
use patchbay_runtime::{CallError, HostErrorKind};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Failure,
    extract::{As, Json, PageParams, Params},
    openapi::{Document, OF_PLUGINS},
    plugins::failure,
};
use crate::{
    app::App,
    ops::{MAX_PAGE, plugins::CommandError},
};

/// `?channel_id=&limit=`
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CommandParams {
    /// Also the commands that there are only in this channel, where the caller must be able to write.
    channel_id: Option<i64>,
    /// How many.
    #[schemars(range(min = 1, max = MAX_PAGE), extend("default" = 50))]
    limit: Option<i64>,
}

/// `?channel_id=&text=`
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CompleteParams {
    /// Where; the caller must be able to write there.
    channel_id: i64,
    /// What has been typed, from the slash on.
    text: String,
}

pub(super) async fn commands(
    State(app): State<App>,
    As(caller): As,
    Params(params): Params<CommandParams>,
) -> Result<axum::Json<List<Command>>, Failure> {
    // They have names and no ids to page by.
    let page = PageParams { limit: params.limit, before: None, after: None };
    page.request()?;
    let found = app.plugins.commands(&caller, params.channel_id.map(ChannelId)).await?;
    let (commands, has_more) = page.of(found.commands, |_| 0)?;
    let items = commands
        .into_iter()
        .map(|command| Command {
            name: command.name,
            description: command.description,
            usage: command.usage,
            plugin: command.plugin,
        })
        .collect();
    Ok(axum::Json(List { items, has_more, extensions_omitted: found.omitted }))
}

pub(super) async fn complete(
    State(app): State<App>,
    As(caller): As,
    Params(params): Params<CompleteParams>,
) -> Result<axum::Json<CommandSuggestions>, Failure> {
    let channel = ChannelId(params.channel_id);
    let found = app.plugins.complete_command(&caller, channel, &params.text).await.map_err(refused)?;
    let items = found
        .into_iter()
        .map(|found| CommandSuggestion { text: found.text, description: found.description })
        .collect();
    Ok(axum::Json(CommandSuggestions { items }))
}

pub(super) async fn run(
    State(app): State<App>,
    As(caller): As,
    Json(body): Json<RunCommand>,
) -> Result<axum::Json<CommandAnswer>, Failure> {
    let ran = app.plugins.run_command(&caller, ChannelId(body.channel_id), &body.text).await;
    let answer = ran.map_err(refused)?;
    Ok(axum::Json(CommandAnswer { command: answer.command, plugin: answer.plugin, text: answer.text }))
}

fn refused(error: CommandError) -> Failure {
    match error {
        CommandError::Refused(error) => error.into(),
        CommandError::Failed(CallError::Refused(refusal)) if is_the_callers(refusal.kind) => {
            Failure::refused("command_refused", "text", &refusal.code, &refusal.detail)
        }
        CommandError::Failed(error) => failure(&error),
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
    doc.tag("Commands", "Slash commands, answered by plugins, and by bots through one.");
    doc.get("/api/commands", commands)
        .says("List commands", "By name.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found"]);
    let mut complete = doc
        .get("/api/commands/complete", complete)
        .says("Complete a command", "What could be typed in place of what has been typed.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found"])
        .refuses(422, &["command_refused"]);
    for (status, codes) in OF_PLUGINS {
        complete = complete.refuses(*status, codes);
    }
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
