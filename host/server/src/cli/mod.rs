//! The command line.
//!
//! Owns: arguments, what is printed, exit codes (0 done, 1 failed, 2 wrong usage or settings).

mod ai;
mod author;
mod data;
mod keys;
mod operator;
mod plugin;
mod search;
mod secret;
mod seed;
mod user;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    app,
    config::{self, Config, Flags},
    text, traces,
};
use ai::AiCommand;
use keys::KeysCommand;
use operator::Operator;
use plugin::PluginCommand;
use search::SearchCommand;
use user::UserCommand;

/// A team-chat backend that is extended by WebAssembly components.
#[derive(Parser)]
#[command(name = "patchbay", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve {
        /// Fill a new deployment with made-up data first, and print how to log in. Only on this machine.
        #[arg(long)]
        demo: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Bring the database up to date and stop.
    Migrate(Settings),
    /// Check the settings and stop.
    CheckConfig(Settings),
    /// Print every setting with its value, its meaning and where the value came from.
    Config(Settings),
    /// Copy everything (database, files, keys) into a file, while the server runs or not.
    #[command(visible_alias = "export")]
    Backup {
        /// The file to make, which must not be there; - is standard output.
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Restore such a file into a new deployment, on SQLite or PostgreSQL, wherever it came from.
    #[command(visible_alias = "import")]
    Restore {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Fill a new deployment with made-up people and conversations.
    SeedData {
        #[command(flatten)]
        seed: seed::Seed,
        #[command(flatten)]
        settings: Settings,
    },
    /// Work with accounts, whether the server runs or not.
    #[command(subcommand)]
    User(UserCommand),
    /// Replace the keys that sign and seal, whether the server runs or not.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Work with plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Look after the search index, whether the server runs or not.
    #[command(subcommand)]
    Search(SearchCommand),
    /// Look after the index of meaning, which the plugin `ai` keeps, whether the server runs or not.
    #[command(subcommand)]
    Ai(AiCommand),
    /// What the server calls to read a PDF.
    #[command(name = text::EXTRACT_COMMAND, hide = true)]
    ExtractText { input: PathBuf, output: PathBuf },
    /// Run a server with made-up data on this machine, and with the plugins of these projects: built, and built anew and
    /// put in place when their sources change.
    Dev(author::Dev),
    /// What the server calls to compile a component.
    #[command(name = patchbay_runtime::COMPILE_COMMAND, hide = true)]
    CompilePlugin { input: PathBuf, output: PathBuf },
}

#[derive(Args, Clone)]
struct Settings {
    /// The file to read [default: patchbay.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// server.data_dir: where the data is kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// server.listen: address and port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Any setting, e.g. --set auth.registration=closed.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Settings {
    fn flags(&self) -> Result<Flags, String> {
        let mut flags = Flags { file: self.config.clone(), values: Vec::new() };
        for setting in &self.set {
            let (name, value) =
                setting.split_once('=').ok_or_else(|| format!("--set {setting}: expected NAME=VALUE"))?;
            flags.values.push((name.to_owned(), value.to_owned(), "--set".to_owned()));
        }
        if let Some(dir) = &self.data_dir {
            let dir = dir.display().to_string();
            flags.values.push(("server.data_dir".to_owned(), dir, "--data-dir".to_owned()));
        }
        if let Some(listen) = &self.listen {
            flags.values.push(("server.listen".to_owned(), listen.to_string(), "--listen".to_owned()));
        }
        Ok(flags)
    }
}

/// Runs the program.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve { demo, settings } => with_config(&settings, |config, _| {
            block_on(config, async move |config| app::serve(config, demo).await)
        }),
        Command::Migrate(settings) => with_config(&settings, |config, _| block_on(config, migrate)),
        Command::CheckConfig(settings) => with_config(&settings, |config, _| {
            app::check(&config)?;
            say("the settings are valid");
            Ok(())
        }),
        Command::Config(settings) => with_config(&settings, |_, values| {
            print_settings(&values);
            Ok(())
        }),
        Command::Backup { file, settings } => with_config(&settings, |config, _| {
            block_on(config, async move |config| data::back_up(config, file).await)
        }),
        Command::Restore { file, settings } => with_config(&settings, |config, _| {
            block_on(config, async move |config| data::restore(config, file).await)
        }),
        Command::SeedData { seed, settings } => with_config(&settings, |config, _| {
            block_on(config, async move |config| seed::seed(config, seed).await)
        }),
        Command::User(command) => as_operator(command.settings(), command.prepare(), async |way, secret| {
            command.run(way, secret).await
        }),
        Command::Keys(KeysCommand::Reset(settings)) => {
            with_config(&settings, |config, _| block_on(quiet(config), reset_keys))
        }
        Command::Keys(command) => as_operator(command.settings(), command.prepare(), async |way, secret| {
            command.run(way, secret).await
        }),
        Command::Dev(dev) => dev.run(),
        Command::CompilePlugin { input, output } => patchbay_runtime::compile_file(&input, &output)
            .map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS),
        Command::Search(command) => {
            as_operator(command.settings(), Ok(None), async |way, _| command.run(way).await)
        }
        Command::Ai(command) => {
            as_operator(command.settings(), Ok(None), async |way, _| command.run(way).await)
        }
        Command::ExtractText { input, output } => {
            text::extract_file(&input, &output).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
        }
        Command::Plugin(command) => match command.settings() {
            None => command.run_alone().map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS),
            Some(settings) => as_operator(settings, Ok(None), async |way, _| command.run(way).await),
        },
    }
}

fn with_config(
    settings: &Settings,
    act: impl FnOnce(Config, config::Values) -> Result<(), app::StartError>,
) -> ExitCode {
    let flags = match settings.flags() {
        Ok(flags) => flags,
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    match Config::load(&flags) {
        Ok((config, values)) => match act(config, values) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
        },
        Err(faults) => {
            for fault in faults {
                complain(&fault.to_string());
            }
            ExitCode::from(2)
        }
    }
}

/// Runs a command that a server that runs carries out, and this process otherwise.
fn as_operator(
    settings: &Settings,
    secret: Result<Option<String>, String>,
    command: impl AsyncFnOnce(&Operator, Option<String>) -> Result<(), app::StartError>,
) -> ExitCode {
    let secret = match secret {
        Ok(secret) => secret,
        Err(error) => return fail(&error),
    };
    with_config(settings, |config, _| {
        block_on(quiet(config), async move |config| {
            let way = Operator::find(config).await?;
            let done = command(&way, secret).await;
            way.close().await;
            done
        })
    })
}

/// A command's output is for people; the log is for what went wrong.
fn quiet(mut config: Config) -> Config {
    config.log.filter = "warn".into();
    config.trace.otlp_endpoint = None;
    config
}

async fn reset_keys(config: Config) -> Result<(), app::StartError> {
    let gone = app::reset_keys(&config).await?;
    say(&format!("{gone} sealed secrets were dropped; new ones are made at the next start"));
    Ok(())
}

fn block_on(
    config: Config,
    act: impl AsyncFnOnce(Config) -> Result<(), app::StartError>,
) -> Result<(), app::StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| app::StartError::new("async runtime", error))?;
    let entered = runtime.enter();
    traces::start(&config.log, &config.trace).map_err(|error| app::StartError::new("traces", error))?;
    drop(entered);
    let ended = runtime.block_on(act(config));
    traces::stop();
    ended
}

async fn migrate(config: Config) -> Result<(), app::StartError> {
    app::make_data_dir(&config)?;
    app::migrate(&config).await?;
    say("the database is up to date");
    Ok(())
}

fn print_settings(values: &config::Values) {
    for setting in config::settings() {
        let (value, origin) = values.shown(&setting);
        let value = if is_secret(setting.name) && !value.is_empty() { "***".to_owned() } else { value };
        say(&format!("{} = {value:?}", setting.name));
        say(&format!("   {}", setting.meaning.trim()));
        say(&format!("    {}; from {origin}", setting.allowed));
    }
    for limit in patchbay_runtime::limits::TABLE {
        say(&format!("plugins.NAME.limits.{} = \"{}\"", limit.name, limit.default));
        say(&format!("    {}", limit.meaning));
        say(&format!("    a whole number from {} to {}; default of each plugin", limit.min, limit.max));
    }
    for (name, value, origin) in values.shown_providers() {
        let value = if is_secret(&name) { "***".to_owned() } else { value };
        say(&format!("{name} = {value:?}"));
        say(&format!("    from {origin}"));
    }
    for (name, value, origin) in values.shown_plugins() {
        say(&format!("{name} = {value:?}"));
        say(&format!("    from {origin}"));
    }
}

fn is_secret(name: &str) -> bool {
    let ends = ["_key", "_secret"].iter().any(|ending| name.ends_with(ending));
    ends || matches!(name, "database.url" | "vectors.url" | "voice.turn")
}

fn fail(error: &str) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

fn say(text: &str) {
    use std::io::Write as _;
    // Whoever reads may have seen enough, as `head` does.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[allow(clippy::print_stderr)] // A command line program's complaints.
fn complain(text: &str) {
    eprintln!("patchbay: {text}");
}
