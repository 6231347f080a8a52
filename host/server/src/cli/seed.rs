//! `patchbay seed-data`.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use patchbay_core::Timestamp;
use patchbay_store::Store;

use super::{app, say};
use crate::{
    auth,
    config::Config,
    seed::{self, Amounts},
};

/// How much to make up.
#[derive(Args)]
pub struct Seed {
    /// People; the first one is superuser.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    users: u64,
    /// Channels, direct messages among them.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    channels: u64,
    /// Messages.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    messages: u64,
    /// Files, at most one per message.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    files: u64,
    /// Reactions.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    reactions: u64,
    /// The same number makes the same data up.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When the last message is said, in seconds since 1970 [default: now].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..=100_000_000_000))]
    now: Option<i64>,
    /// Everybody's password [default: a random one, which is printed].
    #[arg(long)]
    password: Option<String>,
}

/// Fills a new deployment.
///
/// # Errors
/// If a server uses it, it isn't empty, or it can't be written.
pub async fn seed(config: Config, wanted: Seed) -> Result<(), app::StartError> {
    app::make_data_dir(&config)?;
    let _lock = app::lock_data_dir(&config)?;
    let failed = |error: &dyn std::fmt::Display| app::StartError::new("seed-data", error);
    let password = match wanted.password {
        Some(password) => match patchbay_core::text::check_password(&password) {
            Ok(()) => password,
            Err(fault) => return Err(failed(&format!("the password {}", fault.message))),
        },
        None => auth::random_text(12).map_err(|error| failed(&error))?,
    };
    let store = Store::open(&app::database(&config)).await.map_err(|error| failed(&error))?;
    let files = app::files(&config)?;
    let now = wanted.now.map_or_else(Timestamp::now, |seconds| Timestamp(seconds * 1000));
    let Seed { users, channels, messages, files: file_count, reactions, .. } = wanted;
    let amounts = Amounts { users, channels, messages, files: file_count, reactions };
    // Drawn only where somebody looks at it.
    let bar = ProgressBar::new(messages);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} messages, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let made =
        seed::fill(&store, &files, amounts, wanted.seed, &password, now, |done| bar.set_position(done)).await;
    bar.finish_and_clear();
    store.close().await;
    made.map_err(|error| failed(&error))?;
    say(&format!(
        "{users} users, {channels} channels, {messages} messages, {file_count} files, {reactions} reactions"
    ));
    if users > 0 {
        say(&format!(
            "log in as {:?} (superuser) or anybody else with the password {password:?}",
            seed::SUPERUSER
        ));
    }
    Ok(())
}
