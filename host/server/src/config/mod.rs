//! Settings: one struct per subsystem, each in its own file, filled from flags, `PATCHBAY_*` variables,
//! `patchbay.toml` and defaults, in that order. Every value knows where it came from.
//!
//! Owns: names, defaults, bounds and meaning of the settings. Must not: act on them.

mod ai;
mod auth;
mod cors;
mod database;
mod egress;
mod files;
mod journal;
mod limits;
mod log;
mod metrics;
mod plugins;
mod presence;
mod server;
mod source;
mod trace;
mod value;
mod vectors;
mod voice;

pub use ai::{Ai, DEFAULT_PROVIDER, Provider};
pub use auth::{Auth, Registration};
pub use cors::Cors;
pub use database::Database;
pub use egress::Egress;
pub use files::{Cloud, Endpoint, Files, FilesUrl, Secret};
pub use journal::Journal;
pub use limits::{Count, Limits};
pub use log::{Log, LogFormat};
pub use metrics::Metrics;
pub use plugins::{Declared, GivenValue, Plugins, TrustedKey};
pub use presence::Presence;
pub use server::{Networks, Server};
pub use source::{Fault, Flags, Values};
pub use trace::Trace;
pub use value::Switch;
pub use vectors::{Vectors, VectorsUrl};
pub use voice::{UdpPort, Voice, is_turn};

use source::Setting;
#[cfg(test)]
pub use value::Value;

/// All settings of a deployment.
#[derive(Clone, Debug)]
pub struct Config {
    /// `server.*`
    pub server: Server,
    /// `database.*`
    pub database: Database,
    /// `files.*`
    pub files: Files,
    /// `auth.*`
    pub auth: Auth,
    /// `journal.*`
    pub journal: Journal,
    /// `presence.*`
    pub presence: Presence,
    /// `limits.*`
    pub limits: Limits,
    /// `log.*`
    pub log: Log,
    /// `metrics.*`
    pub metrics: Metrics,
    /// `trace.*`
    pub trace: Trace,
    /// `cors.*`
    pub cors: Cors,
    /// `egress.*`
    pub egress: Egress,
    /// `voice.*`
    pub voice: Voice,
    /// `ai.*`
    pub ai: Ai,
    /// `vectors.*`
    pub vectors: Vectors,
    /// `plugins.*`
    pub plugins: Plugins,
}

/// Every setting, in the order in which `patchbay config` prints them.
pub fn settings() -> Vec<Setting> {
    [
        Server::SETTINGS,
        Database::SETTINGS,
        Files::SETTINGS,
        Auth::SETTINGS,
        Journal::SETTINGS,
        Presence::SETTINGS,
        Limits::SETTINGS,
        Log::SETTINGS,
        Metrics::SETTINGS,
        Trace::SETTINGS,
        Cors::SETTINGS,
        Egress::SETTINGS,
        Voice::SETTINGS,
        Ai::SETTINGS,
        Vectors::SETTINGS,
        Plugins::SETTINGS,
    ]
    .concat()
}

impl Config {
    /// Reads the settings from where the flags say.
    ///
    /// # Errors
    /// Every fault found, not only the first.
    pub fn load(flags: &Flags) -> Result<(Self, Values), Vec<Fault>> {
        let (values, mut faults) = Values::gather(flags, &settings());
        let config = Self {
            server: Server::from_values(&values, &mut faults),
            database: Database::from_values(&values, &mut faults),
            files: Files::from_values(&values, &mut faults),
            auth: Auth::from_values(&values, &mut faults),
            journal: Journal::from_values(&values, &mut faults),
            presence: Presence::from_values(&values, &mut faults),
            limits: Limits::from_values(&values, &mut faults),
            log: Log::from_values(&values, &mut faults),
            metrics: Metrics::from_values(&values, &mut faults),
            trace: Trace::from_values(&values, &mut faults),
            cors: Cors::from_values(&values, &mut faults),
            egress: Egress::from_values(&values, &mut faults),
            voice: Voice::from_values(&values, &mut faults),
            ai: Ai::from_values(&values, &mut faults),
            vectors: Vectors::from_values(&values, &mut faults),
            plugins: Plugins::from_values(&values, &mut faults),
        };
        if config.auth.master_key.0.is_some() && config.auth.master_key_file.is_some() {
            faults
                .push(Fault::clash("auth.master_key and auth.master_key_file: only one of them can be set"));
        }
        if config.voice.turn.asks_for_credentials() && config.voice.turn_secret.is_none() {
            faults.push(Fault::clash(
                "voice.turn has a TURN server: voice.turn_secret is what it shares with this one",
            ));
        }
        if matches!(config.vectors.url, Some(VectorsUrl::Pinecone(_))) && config.vectors.api_key.is_none() {
            faults
                .push(Fault::clash("vectors.url is an index of Pinecone: vectors.api_key is what opens it"));
        }
        if faults.is_empty() { Ok((config, values)) } else { Err(faults) }
    }
}

/// Declares a subsystem's settings: the struct, its table for `patchbay config`, and how it is filled. The
/// doc comment of a field is its meaning; the text after `=` is its default, written as an operator would.
macro_rules! declare {
    (
        $(#[doc = $about:literal])*
        $section:literal => $name:ident {
            $( $(#[doc = $meaning:literal])+ $field:ident: $type:ty = $default:literal, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $meaning])+ pub $field: $type, )*
        }

        impl $name {
            pub(super) const SETTINGS: &'static [$crate::config::source::Setting] = &[
                $( $crate::config::source::Setting {
                    name: concat!($section, ".", stringify!($field)),
                    default: $default,
                    meaning: concat!($($meaning),+),
                    allowed: <$type as $crate::config::value::Value>::ALLOWED,
                }, )*
            ];

            pub(super) fn from_values(
                values: &$crate::config::source::Values,
                faults: &mut Vec<$crate::config::source::Fault>,
            ) -> Self {
                Self {
                    $( $field: values.get(concat!($section, ".", stringify!($field)), $default, faults), )*
                }
            }
        }
    };
}
use declare;
