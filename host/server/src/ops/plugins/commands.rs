//! Slash commands: what clients type, handed to the plugin that registered it.

use patchbay_core::{Actor, ChannelId, permission::Action};
use patchbay_runtime::CallError;

use super::{Deployment, Error, Thing};
use crate::ops::access::enter_to;

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
    /// The commands of all plugins that serve, by name.
    pub fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<_> = self
            .0
            .runtime
            .active()
            .into_iter()
            .flat_map(|plugin| {
                let name = plugin.name().to_owned();
                let commands = plugin.manifest().commands.clone();
                commands.into_iter().map(move |command| Command {
                    name: command.name,
                    description: command.description,
                    usage: command.usage,
                    plugin: name.clone(),
                })
            })
            .collect();
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        commands
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
        let (command, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let mut conn = self.0.ops.store().read().await.map_err(Error::from)?;
        enter_to(&mut conn, caller, channel, Action::Write).await?;
        drop(conn);
        let plugin = self.0.runtime.command(command).ok_or(Error::NotFound(Thing::Command))?;
        let ran = self.0.runtime.run_command(&plugin, caller.clone(), (command, text.trim()), channel);
        let text = ran.await.map_err(CommandError::Failed)?;
        Ok(CommandAnswer { command: command.to_owned(), plugin: plugin.name().to_owned(), text })
    }
}
