//! The calls that help people to type commands, and their bounds.
//!
//! Owns: what a plugin may offer. Must not: run a command; `invoke` does.

use std::time::Duration;

use patchbay_core::{Actor, ChannelId};

use crate::{
    CallError,
    bindings::command_help_export as wit,
    call::{Call, Context, measured},
    invoke::{absent, in_turn},
    load::Plugin,
    manifest::{Command, check_command},
    state::id_out,
    stats::CallKind,
};

/// Most commands that one answer offers (`wit/command-help.wit`).
const MORE: usize = 200;
/// Most suggestions.
const SUGGESTIONS: usize = 20;
/// Most characters of a suggestion's text, and of its description.
const SUGGESTION_CHARS: usize = 200;

/// Something that could be typed after a command's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// What would stand there.
    pub text: String,
    /// What it means.
    pub description: String,
}

pub(crate) async fn more(
    context: &Context,
    plugin: &Plugin,
    caller: Actor,
    channel: ChannelId,
) -> Result<Vec<Command>, CallError> {
    let budget = plugin.limits.command;
    let work = async |permit| {
        let export = plugin.exports.command_help.as_ref().ok_or_else(|| absent(CallKind::Command))?;
        let depth = caller.depth().saturating_add(1);
        let mut call = Call::start(context, plugin, budget.cpu, depth, Some(permit)).await?;
        let guest = export.load(&mut call.store, &call.instance)?;
        let lent = call.store.data_mut().lend_caller(caller)?;
        let guest = guest.patchbay_plugin_command_help();
        let answered = guest.call_more(&mut call.store, lent, id_out(channel.0)).await;
        let commands = call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))?;
        checked_commands(commands)
    };
    measured(context, plugin, CallKind::Command, in_turn(&plugin.permits, budget, Duration::ZERO, work)).await
}

pub(crate) async fn complete(
    context: &Context,
    plugin: &Plugin,
    caller: Actor,
    (command, text): (&str, &str),
    channel: ChannelId,
) -> Result<Vec<Suggestion>, CallError> {
    let budget = plugin.limits.command;
    let work = async |permit| {
        let export = plugin.exports.command_help.as_ref().ok_or_else(|| absent(CallKind::Command))?;
        let depth = caller.depth().saturating_add(1);
        let mut call = Call::start(context, plugin, budget.cpu, depth, Some(permit)).await?;
        let guest = export.load(&mut call.store, &call.instance)?;
        let lent = call.store.data_mut().lend_caller(caller)?;
        let guest = guest.patchbay_plugin_command_help();
        let answered = guest.call_complete(&mut call.store, lent, command, text, id_out(channel.0)).await;
        let found = call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))?;
        checked_suggestions(found)
    };
    measured(context, plugin, CallKind::Command, in_turn(&plugin.permits, budget, Duration::ZERO, work)).await
}

fn checked_commands(commands: Vec<wit::Command>) -> Result<Vec<Command>, CallError> {
    if commands.len() > MORE {
        return Err(CallError::InvalidResponse(format!("it offers more than {MORE} commands")));
    }
    let command = |command: wit::Command| {
        let wit::Command { name, description, usage } = command;
        let command = Command { name, description, usage };
        check_command(&command).map_err(|why| CallError::InvalidResponse(why.to_string()))?;
        Ok(command)
    };
    commands.into_iter().map(command).collect()
}

fn checked_suggestions(found: Vec<wit::Suggestion>) -> Result<Vec<Suggestion>, CallError> {
    let fits = |text: &str| text.chars().count() <= SUGGESTION_CHARS && !text.contains(['\n', '\r']);
    if found.len() > SUGGESTIONS {
        return Err(CallError::InvalidResponse(format!("it has more than {SUGGESTIONS} suggestions")));
    }
    if !found.iter().all(|suggestion| fits(&suggestion.text) && fits(&suggestion.description)) {
        let why = format!("a suggestion is no line of at most {SUGGESTION_CHARS} characters");
        return Err(CallError::InvalidResponse(why));
    }
    let suggestion = |wit::Suggestion { text, description }| Suggestion { text, description };
    Ok(found.into_iter().map(suggestion).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_bounded() {
        let command = |name: &str| wit::Command {
            name: name.to_owned(),
            description: String::new(),
            usage: String::new(),
        };
        assert!(checked_commands(vec![command("deploy"); MORE]).is_ok());
        assert!(checked_commands(vec![command("deploy"); MORE + 1]).is_err());
        assert!(checked_commands(vec![command("De ploy")]).is_err());

        let suggestion = |text: &str| wit::Suggestion { text: text.to_owned(), description: String::new() };
        assert!(checked_suggestions(vec![suggestion(&"é".repeat(SUGGESTION_CHARS)); SUGGESTIONS]).is_ok());
        assert!(checked_suggestions(vec![suggestion("x"); SUGGESTIONS + 1]).is_err());
        assert!(checked_suggestions(vec![suggestion(&"x".repeat(SUGGESTION_CHARS + 1))]).is_err());
        assert!(checked_suggestions(vec![suggestion("two\nlines")]).is_err());
    }
}
