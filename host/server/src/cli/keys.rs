//! `patchbay keys …`

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::{Settings, operator::Operator, say, secret};
use crate::app::StartError;

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Sign access tokens with a new key from now on; those that are out stay good until they expire.
    Rotate(Settings),
    /// Seal all secrets in the database with a new master key.
    Rekey {
        /// Read the new key (32 random bytes in base64) from standard input instead of making one. Needed if the
        /// present one comes from the settings, where you then have to replace it.
        #[arg(long)]
        new_key_stdin: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Drop the secrets that the master key doesn't open, for when the one that did is lost. Users stay logged in
    /// by their refresh tokens.
    Reset(Settings),
}

impl KeysCommand {
    pub(super) fn settings(&self) -> &Settings {
        match self {
            Self::Rotate(settings) | Self::Rekey { settings, .. } | Self::Reset(settings) => settings,
        }
    }

    /// Takes in what is needed before anything is opened.
    pub(super) fn prepare(&self) -> Result<Option<String>, String> {
        match self {
            Self::Rekey { new_key_stdin: true, .. } => secret::read("", true).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) async fn run(&self, way: &Operator, new_key: Option<String>) -> Result<(), StartError> {
        let text = |answer: &Value, name: &str| {
            answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        match self {
            Self::Rotate(_) => {
                let answer = way.call(Method::POST, "/control/keys/rotate", None).await?;
                say(&format!("key {} signs from now on", text(&answer, "kid")));
            }
            Self::Rekey { .. } => {
                let body = json!({ "new_key": new_key });
                let answer = way.call(Method::POST, "/control/keys/rekey", Some(&body)).await?;
                say(&format!("everything is sealed with master key {}", text(&answer, "id")));
                if answer.get("is_kept") != Some(&Value::Bool(true)) {
                    say("put it into the settings before the next start: the server will ask for it");
                }
            }
            // A server whose secrets can't be opened doesn't run.
            Self::Reset(_) => {}
        }
        Ok(())
    }
}
