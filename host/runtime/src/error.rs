//! Why a component was not loaded, and why a call failed: each with a stable code.
//!
//! Owns: the codes and what each tells whom. Must not: log.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;

/// Why the runtime could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The cache directory can't be used.
    #[error("the plugin cache {path} can't be used: {source}")]
    Cache {
        /// The directory.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Wasmtime refuses this machine or these settings.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
}

/// Why a component was not accepted. The message tells the operator what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is larger than a component may be.
    #[error("the component is larger than {limit} bytes; build it with optimisation for size and strip it")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// It is a core module or something else.
    #[error("this is not a WebAssembly component; make one with `patchbay plugin pack`")]
    NotAComponent,
    /// It claims to be a component but isn't a valid one.
    #[error("the component is malformed: {0}; build it again")]
    Malformed(String),
    /// It carries no manifest.
    #[error("the component has no manifest; add it with `patchbay plugin pack --manifest plugin.toml`")]
    ManifestMissing,
    /// Its manifest breaks a rule.
    #[error("the manifest is invalid: {0}")]
    ManifestInvalid(String),
    /// It imports what this host does not have.
    #[error("the component imports {0}, which this host does not offer; {advice}", advice = other_contract(.0))]
    ImportUnknown(String),
    /// It imports a capability that its manifest does not ask for.
    #[error("the component imports {0:?} but its manifest does not list it; add it to `capabilities`")]
    CapabilityUndeclared(String),
    /// It imports capabilities that the operator did not grant.
    #[error("not granted: {}; an operator grants it by `patchbay plugin grant NAME {}`", .0.join(", "), .0.join(" "))]
    CapabilityNotGranted(Vec<String>),
    /// It wants routes outside its own prefix that the operator did not grant.
    #[error(
        "routes not granted: {}; an operator grants them by `patchbay plugin grant NAME {}`, or its author moves them under \
         /api/plugins/NAME/",
        .0.join(", "), .0.join(" ")
    )]
    RouteNotGranted(Vec<String>),
    /// Another active plugin answers the same method and path.
    #[error("{method} {path} is already answered by the plugin {owner:?}; disable one of the two")]
    RouteConflict {
        /// The method.
        method: String,
        /// The template.
        path: String,
        /// The plugin that has it.
        owner: String,
    },
    /// Another active plugin answers the same command.
    #[error("/{command} is already answered by the plugin {owner:?}; disable one of the two")]
    CommandConflict {
        /// The command.
        command: String,
        /// The plugin that has it.
        owner: String,
    },
    /// Its `activate` failed.
    #[error("the plugin did not accept its activation: {0}")]
    ActivateFailed(String),
    /// Its manifest has routes, but it has no `http` export, or an export has the wrong type.
    #[error("the component's exports don't fit: {0}")]
    ExportMismatch(String),
    /// An import has another type than the host's.
    #[error(
        "the component's imports don't fit: {0}; build it against the host's wit/, which `patchbay plugin new` writes"
    )]
    ImportMismatch(String),
    /// The compiler gave up.
    #[error("the component could not be compiled: {0}")]
    CompileFailed(String),
    /// The compiler did not come to an end in time.
    #[error(
        "the component was not compiled within {} s; build it smaller, with smaller functions",
        .limit.as_secs_f32()
    )]
    CompileTimeout {
        /// How long it may take, waiting for the compiler included.
        limit: Duration,
    },
    /// It needs more than any call gets.
    #[error("the component needs more than its limits: {0}")]
    ResourcesExceeded(String),
    /// A trial instance failed.
    #[error("the component does not start: {0}")]
    StartFailed(String),
    /// The cache failed; the host's disk, not the plugin's fault.
    #[error("the plugin cache failed: {0}")]
    Cache(String),
}

impl LoadError {
    /// Stable snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NotAComponent => "not_a_component",
            Self::Malformed(_) => "malformed_component",
            Self::ManifestMissing => "manifest_missing",
            Self::ManifestInvalid(_) => "manifest_invalid",
            Self::ImportUnknown(_) => "import_unknown",
            Self::CapabilityUndeclared(_) => "capability_undeclared",
            Self::CapabilityNotGranted(_) => "capability_not_granted",
            Self::RouteNotGranted(_) => "route_not_granted",
            Self::RouteConflict { .. } => "route_conflict",
            Self::CommandConflict { .. } => "command_conflict",
            Self::ActivateFailed(_) => "activate_failed",
            Self::ExportMismatch(_) => "export_mismatch",
            Self::ImportMismatch(_) => "import_mismatch",
            Self::CompileFailed(_) => "compile_failed",
            Self::CompileTimeout { .. } => "compile_timeout",
            Self::ResourcesExceeded(_) => "resources_exceeded",
            Self::StartFailed(_) => "start_failed",
            Self::Cache(_) => "cache_failed",
        }
    }
}

/// Why a call of a plugin failed. [`CallError::status`] and [`CallError::public_detail`] are for the client,
/// `Display` is for the operator's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No permit came free in time.
    #[error("too many calls at once")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The plugin failed so often that it is kept from being called.
    #[error("the plugin is in quarantine")]
    Quarantined,
    /// The guest computed for longer than its budget.
    #[error("the CPU budget is used up")]
    CpuExceeded,
    /// The call as a whole took too long.
    #[error("the call took longer than its time limit")]
    TimedOut,
    /// The guest wanted more memory than it may have.
    #[error("the call wants more memory than it may have")]
    MemoryExceeded,
    /// Another limit was reached.
    #[error("{0}")]
    LimitExceeded(String),
    /// The guest trapped.
    #[error("{message}{}{}", frames_text(.frames), advice(.message))]
    Trapped {
        /// What happened.
        message: String,
        /// The guest's functions, innermost first.
        frames: Vec<String>,
    },
    /// The plugin answered with an error of the contract.
    #[error("the plugin refused: {0}")]
    Refused(HostError),
    /// `handle` returned without starting a response.
    #[error("the plugin gave no answer")]
    NoResponse,
    /// What the plugin answered breaks the contract.
    #[error("the plugin's answer is invalid: {0}")]
    InvalidResponse(String),
    /// The client left or does not read; nobody to tell.
    #[error("{0}")]
    ClientGone(&'static str),
}

/// What to do about an import that the host doesn't have.
fn other_contract(import: &str) -> String {
    if import.starts_with(crate::inspect::PACKAGE) {
        format!(
            "it speaks {}{}: build the component against its wit/, which `patchbay plugin new` writes",
            crate::inspect::PACKAGE.trim_end_matches('/'),
            format_args!("@{}.x", crate::inspect::PACKAGE_VERSIONS)
        )
    } else if import.starts_with("wasi:") {
        "of WASI it has io, clocks, random, cli, filesystem and sockets of version 0.2; requests go through http-client".to_owned()
    } else {
        "build it against the host's wit/, and without what the toolchain adds".to_owned()
    }
}

/// What to do about a trap.
fn advice(message: &str) -> &'static str {
    if message.contains("unreachable") {
        "; that is a panic or an abort of the plugin's own, and in Rust `patchbay_sdk::log_panics()` logs what it says"
    } else if message.contains("stack") {
        "; it calls itself too deeply, or keeps too much on its stack"
    } else {
        ""
    }
}

fn frames_text(frames: &[String]) -> String {
    if frames.is_empty() { String::new() } else { format!(" in {}", frames.join(" < ")) }
}

impl CallError {
    /// Stable snake_case.
    pub fn code(&self) -> &str {
        match self {
            Self::Busy { .. } => "plugin_busy",
            Self::Quarantined => "plugin_quarantined",
            Self::CpuExceeded => "plugin_deadline_exceeded",
            Self::TimedOut => "plugin_timeout",
            Self::MemoryExceeded => "plugin_memory_exceeded",
            Self::LimitExceeded(_) => "plugin_limit_exceeded",
            Self::Trapped { .. } => "plugin_trapped",
            Self::NoResponse => "plugin_no_response",
            Self::InvalidResponse(_) => "plugin_invalid_response",
            Self::ClientGone(_) => "client_gone",
            Self::Refused(HostError { kind: HostErrorKind::Internal, .. }) => "plugin_failed",
            Self::Refused(error) => &error.code,
        }
    }

    /// The fitting HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Busy { .. } | Self::Quarantined => StatusCode::SERVICE_UNAVAILABLE,
            Self::CpuExceeded | Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::MemoryExceeded
            | Self::LimitExceeded(_)
            | Self::Trapped { .. }
            | Self::NoResponse
            | Self::InvalidResponse(_)
            | Self::ClientGone(_) => StatusCode::BAD_GATEWAY,
            Self::Refused(error) => match error.kind {
                HostErrorKind::NotFound => StatusCode::NOT_FOUND,
                HostErrorKind::Forbidden => StatusCode::FORBIDDEN,
                HostErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
                HostErrorKind::Conflict => StatusCode::CONFLICT,
                HostErrorKind::LimitExceeded | HostErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                HostErrorKind::Internal => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// How long a client should wait before it tries again, if that can help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } => Some(*retry_after),
            Self::Quarantined => Some(Duration::from_secs(60)),
            Self::Refused(HostError { kind: HostErrorKind::Unavailable, .. }) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// A sentence for the client: what the plugin meant for it, and nothing of the plugin's inside.
    pub fn public_detail(&self) -> &str {
        match self {
            Self::Busy { .. } => "The plugin is busy.",
            Self::Quarantined => "The plugin has failed too often and is switched off.",
            Self::CpuExceeded | Self::TimedOut => "The plugin took too long.",
            Self::Refused(HostError { kind: HostErrorKind::Internal, .. }) => "The plugin failed.",
            Self::Refused(error) => &error.detail,
            _ => "The plugin failed.",
        }
    }

    /// Whether this is the plugin's own failure, rather than a refusal, load or an impatient client.
    pub fn is_failure(&self) -> bool {
        !matches!(
            self,
            Self::Busy { .. }
                | Self::Quarantined
                | Self::ClientGone(_)
                | Self::Refused(HostError {
                    kind: HostErrorKind::NotFound
                        | HostErrorKind::Forbidden
                        | HostErrorKind::Invalid
                        | HostErrorKind::Conflict
                        | HostErrorKind::Unavailable,
                    ..
                })
        )
    }
}

/// An error at the border between host and plugin, in either direction (`types.error` in `wit/types.wit`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}: {detail}")]
pub struct HostError {
    /// What kind.
    pub kind: HostErrorKind,
    /// Stable snake_case.
    pub code: Cow<'static, str>,
    /// A sentence for people. Of an `Internal` error nobody but the log sees it.
    pub detail: String,
}

impl HostError {
    /// An error of that kind, with the kind's own code.
    pub fn new(kind: HostErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, code: kind.code().into(), detail: detail.into() }
    }

    /// The same with a code that says more, if it is one: 1 to 64 of `a-z 0-9 _`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        let code = code.into();
        let of_a_code = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if (1..=64).contains(&code.len()) && code.bytes().all(of_a_code) {
            self.code = code;
        }
        self
    }
}

/// The kinds of [`HostError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostErrorKind {
    /// It does not exist, or the actor may not know that it does.
    NotFound,
    /// The actor may not do this.
    Forbidden,
    /// An argument is wrong.
    Invalid,
    /// It contradicts what is there.
    Conflict,
    /// A limit of the plugin was reached.
    LimitExceeded,
    /// The host can't do it now.
    Unavailable,
    /// The host failed.
    Internal,
}

impl HostErrorKind {
    /// The code of an error that has none of its own.
    fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Invalid => "validation_failed",
            Self::Conflict => "conflict",
            Self::LimitExceeded => "plugin_limit_exceeded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}
