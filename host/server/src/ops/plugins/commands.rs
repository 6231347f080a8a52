//! Slash commands: what clients type, handed to the plugin that has them.
//!
//! Owns: which plugin is asked, and `/help`. Must not: know what a command does.

use std::{fmt::Write as _, sync::Arc};

use patchbay_core::{Actor, ChannelId, permission::Action};
use patchbay_runtime::{CallError, HostErrorKind, Plugin, Suggestion};

use super::{Deployment, Error, Thing};
use crate::ops::access::enter_to;

/// The command that the host answers, unless a plugin has one of this name.
const HELP: &str = "help";
/// Who answers it.
const HOST: &str = "patchbay";
/// Most suggestions of an answer.
const SUGGESTIONS: usize = 20;
/// Most characters of what `/help` answers, as of any command.
const REPLY_CHARS: usize = 8_000;

/// A command that somebody can type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name, without the slash.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How to type what comes after it.
    pub usage: String,
    /// Who answers it.
    pub plugin: String,
}

/// Commands that somebody can type.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// By name.
    pub commands: Vec<Command>,
    /// Plugins that did not say what they have.
    pub omitted: Vec<String>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAnswer {
    /// Its name.
    pub command: String,
    /// Who answered.
    pub plugin: String,
    /// The text for the caller alone.
    pub text: Option<String>,
}

/// Why a command was not answered.
#[derive(Debug)]
pub enum CommandError {
    /// It never reached a plugin.
    Refused(Error),
    /// The plugin failed or refused.
    Failed(CallError),
}

impl<E: Into<Error>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl Deployment {
    /// The commands of all plugins that serve, and with a channel also those that they have there beside their manifests'.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] unless the caller may write in the channel.
    pub async fn commands(&self, caller: &Actor, channel: Option<ChannelId>) -> Result<Commands, Error> {
        if let Some(channel) = channel {
            self.may_type(caller, channel).await?;
        }
        Ok(self.typed_in(caller, channel).await)
    }

    /// What somebody could go on to who has typed `text`, a whole line with its slash: commands whose names go on, or
    /// what the command's plugin suggests. Lines, to be typed in place of that one.
    ///
    /// # Errors
    /// As [`run_command`](Self::run_command).
    pub async fn complete_command(
        &self,
        caller: &Actor,
        channel: ChannelId,
        text: &str,
    ) -> Result<Vec<Suggestion>, CommandError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(Error::invalid("text", "format", "must begin with a slash").into());
        };
        self.may_type(caller, channel).await?;
        let Some((name, text)) = rest.split_once(char::is_whitespace) else {
            return Ok(names(&self.typed_in(caller, Some(channel)).await.commands, "/", rest));
        };
        let text = text.trim_start();
        for plugin in self.0.runtime.command(name).map_or_else(|| self.helpers(), |plugin| vec![plugin]) {
            if !plugin.helps_with_commands() {
                continue;
            }
            let asked = self.0.runtime.complete_command(&plugin, caller.clone(), (name, text), channel).await;
            match asked {
                Err(error) if knows_no_command(&error) => {}
                Err(error) => return Err(CommandError::Failed(error)),
                Ok(mut found) => {
                    for suggestion in &mut found {
                        suggestion.text = format!("/{name} {}", suggestion.text);
                    }
                    return Ok(found);
                }
            }
        }
        if name == HELP && self.0.runtime.command(name).is_none() {
            return Ok(names(&self.typed_in(caller, Some(channel)).await.commands, "/help ", text));
        }
        Ok(Vec::new())
    }

    /// Runs `/command text` in a channel in which the caller may write.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no command, [`Error::NotFound`], [`Error::Forbidden`]; what the plugin says.
    pub async fn run_command(
        &self,
        caller: &Actor,
        channel: ChannelId,
        text: &str,
    ) -> Result<CommandAnswer, CommandError> {
        let rest = text.trim().strip_prefix('/').filter(|rest| !rest.is_empty());
        let rest =
            rest.ok_or_else(|| Error::invalid("text", "format", "must be /COMMAND and what it needs"))?;
        let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let text = text.trim();
        self.may_type(caller, channel).await?;
        let answer =
            |plugin: &str, text| CommandAnswer { command: name.to_owned(), plugin: plugin.to_owned(), text };
        if let Some(plugin) = self.0.runtime.command(name) {
            let ran = self.0.runtime.run_command(&plugin, caller.clone(), (name, text), channel);
            return Ok(answer(plugin.name(), ran.await.map_err(CommandError::Failed)?));
        }
        for plugin in self.helpers() {
            match self.0.runtime.run_command(&plugin, caller.clone(), (name, text), channel).await {
                Err(error) if knows_no_command(&error) => {}
                Err(error) => return Err(CommandError::Failed(error)),
                Ok(said) => return Ok(answer(plugin.name(), said)),
            }
        }
        if name == HELP {
            let commands = self.typed_in(caller, Some(channel)).await.commands;
            return Ok(answer(HOST, Some(help(&commands, text.trim_start_matches('/')))));
        }
        Err(Error::NotFound(Thing::Command).into())
    }

    async fn may_type(&self, caller: &Actor, channel: ChannelId) -> Result<(), Error> {
        let mut conn = self.0.ops.store().read().await?;
        enter_to(&mut conn, caller, channel, Action::Write).await?;
        Ok(())
    }

    /// The plugins that may have commands beside their manifests'.
    fn helpers(&self) -> Vec<Arc<Plugin>> {
        let active = self.0.runtime.active();
        active.into_iter().filter(|plugin| plugin.helps_with_commands()).collect()
    }

    async fn typed_in(&self, caller: &Actor, channel: Option<ChannelId>) -> Commands {
        let mut found = Commands::default();
        for plugin in self.0.runtime.active() {
            add(&mut found.commands, plugin.name(), plugin.manifest().commands.clone());
        }
        if let Some(channel) = channel {
            for plugin in self.helpers() {
                match self.0.runtime.more_commands(&plugin, caller.clone(), channel).await {
                    Ok(more) => add(&mut found.commands, plugin.name(), more),
                    Err(error) => {
                        tracing::warn!(plugin = plugin.name(), %error, "does not say which commands it has");
                        found.omitted.push(plugin.name().to_owned());
                    }
                }
            }
        }
        let help = patchbay_runtime::Command {
            name: HELP.to_owned(),
            description: "Lists the commands, or tells about one".to_owned(),
            usage: "[COMMAND]".to_owned(),
        };
        add(&mut found.commands, HOST, vec![help]);
        found.commands.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

/// Adds those whose names are free: whoever is asked first, answers.
fn add(commands: &mut Vec<Command>, plugin: &str, more: Vec<patchbay_runtime::Command>) {
    for patchbay_runtime::Command { name, description, usage } in more {
        if !commands.iter().any(|known| known.name == name) {
            commands.push(Command { name, description, usage, plugin: plugin.to_owned() });
        }
    }
}

/// The plugin has no such command; another one may.
fn knows_no_command(error: &CallError) -> bool {
    matches!(error, CallError::Refused(refusal)
        if refusal.kind == HostErrorKind::NotFound && refusal.code == "command_not_found")
}

/// The commands whose names begin like that.
fn names(commands: &[Command], before: &str, start: &str) -> Vec<Suggestion> {
    let suggestion = |command: &Command| Suggestion {
        text: format!("{before}{}", command.name),
        description: command.description.clone(),
    };
    commands
        .iter()
        .filter(|command| command.name.starts_with(start))
        .take(SUGGESTIONS)
        .map(suggestion)
        .collect()
}

/// What `/help` says, in Markdown.
fn help(commands: &[Command], about: &str) -> String {
    if !about.is_empty() && !commands.iter().any(|command| command.name == about) {
        return format!("There is no command `/{about}` here. `/help` lists those that there are.");
    }
    let mut text = String::new();
    let mut left_out = 0_usize;
    for Command { name, description, usage, .. } in commands {
        if !about.is_empty() && name != about {
            continue;
        }
        let typed = format!("/{name} {usage}");
        let line = format!("`{}` {description}\n", typed.trim_end().replace('`', "'"));
        if text.chars().count() + line.chars().count() > REPLY_CHARS - 100 {
            left_out += 1;
        } else {
            text += &line;
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "… and {left_out} more");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str, usage: &str) -> Command {
        Command {
            name: name.to_owned(),
            description: format!("does {name}"),
            usage: usage.to_owned(),
            plugin: "test".to_owned(),
        }
    }

    #[test]
    fn help_lists_and_tells() {
        let commands = [command("deploy", "WHAT"), command("who", "")];
        assert_eq!(help(&commands, ""), "`/deploy WHAT` does deploy\n`/who` does who");
        assert_eq!(help(&commands, "who"), "`/who` does who");
        assert!(help(&commands, "what").contains("no command `/what`"));
    }

    #[test]
    fn help_is_as_long_as_an_answer_may_be() {
        let commands: Vec<_> = (0..500).map(|n| command(&format!("command-{n}"), "ANYTHING")).collect();
        let text = help(&commands, "");
        assert!(text.chars().count() <= REPLY_CHARS && text.ends_with(" more"), "{text}");
    }

    #[test]
    fn who_is_asked_first_has_the_name() {
        let mut commands = Vec::new();
        let one = |name: &str| patchbay_runtime::Command { name: name.to_owned(), ..command_of_a_manifest() };
        add(&mut commands, "first", vec![one("deploy")]);
        add(&mut commands, "second", vec![one("deploy"), one("who")]);
        let owners: Vec<_> = commands.iter().map(|c| (c.name.as_str(), c.plugin.as_str())).collect();
        assert_eq!(owners, [("deploy", "first"), ("who", "second")]);
    }

    fn command_of_a_manifest() -> patchbay_runtime::Command {
        patchbay_runtime::Command { name: String::new(), description: String::new(), usage: String::new() }
    }
}
