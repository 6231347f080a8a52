//! What a Patchbay plugin written in Rust depends on.
//!
//! Implement a trait per export ([`Http`], [`Events`], [`Hooks`], [`Commands`], [`Decorator`], [`Jobs`],
//! [`Lifecycle`]), name them in [`register!`], and call the host
//! through the modules that carry the names of the WIT interfaces ([`reactions`], [`kv`], …). A component
//! imports only what its code reaches, so its imports are its real appetite.
//!
//! ```
//! use patchbay_sdk::{Actor, Error, Http, Request, Response, answer::Answer};
//!
//! struct Hello;
//!
//! impl Http for Hello {
//!     fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
//!         let _ = (request, caller);
//!         Answer::json(200, &patchbay_sdk::json!({ "hello": "world" })).send(response)
//!     }
//! }
//!
//! patchbay_sdk::register!(Hello: http);
//! ```
//!
//! What helps beyond that: [`routes`] (a function per route, JSON in and out), [`Entry::event`] (events with types),
//! [`state`] and [`settings`] (values with types), [`info!`] and its like (the plugin's log), [`mock`] (tests).
//!
//! Owns: the Rust face of the contract in `wit/`. Must not: import anything that its user did not call, or
//! run code when a component starts.

#![deny(missing_docs)]

pub mod answer;
#[doc(hidden)]
pub mod bindings;
mod error;
pub mod event;
pub mod input;
mod line;
pub mod memory;
#[cfg(not(target_arch = "wasm32"))]
pub mod mock;
pub mod routes;
pub mod settings;
pub mod state;
pub mod text;

pub use event::Event;
pub use line::log_panics;
#[doc(hidden)]
pub use line::write_line;

/// Bot users that people make through this plugin (`patchbay:plugin/bots`).
pub use bindings::imports::patchbay::plugin::bots;
/// Channels, as the actor sees them (`patchbay:plugin/channels`).
pub use bindings::imports::patchbay::plugin::channels;
/// What the operator set, and secrets (`patchbay:plugin/config`).
pub use bindings::imports::patchbay::plugin::config;
/// What is the same for everybody on this deployment (`patchbay:plugin/deployment`).
pub use bindings::imports::patchbay::plugin::deployment;
pub use bindings::imports::patchbay::plugin::event_types::{Entry, Outcome};
/// Files, read and written with the actor's permissions (`patchbay:plugin/files`).
pub use bindings::imports::patchbay::plugin::files;
/// Requests to other servers (`patchbay:plugin/http-client`).
pub use bindings::imports::patchbay::plugin::http_client;
pub use bindings::imports::patchbay::plugin::http_types::{Request, Response};
/// The plugin's own bot user (`patchbay:plugin/identity`).
pub use bindings::imports::patchbay::plugin::identity;
/// Secrets that need not be kept (`patchbay:plugin/keys`).
pub use bindings::imports::patchbay::plugin::keys;
/// The plugin's own durable state (`patchbay:plugin/kv`).
pub use bindings::imports::patchbay::plugin::kv;
/// Language models (`patchbay:plugin/llm`).
pub use bindings::imports::patchbay::plugin::llm;
/// The plugin's log, which its operator reads (`patchbay:plugin/log`).
pub use bindings::imports::patchbay::plugin::log;
/// Messages, read and written with the actor's permissions (`patchbay:plugin/messages`).
pub use bindings::imports::patchbay::plugin::messages;
/// Who is here (`patchbay:plugin/presence`).
pub use bindings::imports::patchbay::plugin::presence;
/// The reactions to messages (`patchbay:plugin/reactions`).
pub use bindings::imports::patchbay::plugin::reactions;
/// Signals to connected clients (`patchbay:plugin/realtime`).
pub use bindings::imports::patchbay::plugin::realtime;
/// Jobs for later (`patchbay:plugin/scheduler`).
pub use bindings::imports::patchbay::plugin::scheduler;
/// Looking for messages, files and channels (`patchbay:plugin/search`).
pub use bindings::imports::patchbay::plugin::search;
/// The deployment itself as an actor (`patchbay:plugin/system`).
pub use bindings::imports::patchbay::plugin::system;
pub use bindings::imports::patchbay::plugin::types::{
    Actor, ChannelId, Error, FileId, MessageId, Reason, Timestamp, UserId,
};
/// The public part of users' profiles (`patchbay:plugin/users`).
pub use bindings::imports::patchbay::plugin::users;
/// Vectors with metadata, in collections of the plugin's own (`patchbay:plugin/vectors`).
pub use bindings::imports::patchbay::plugin::vectors;

pub use bindings::commands_plugin::exports::patchbay::plugin::commands::{Invocation, Reply};
pub use bindings::decorator_plugin::exports::patchbay::plugin::decorator::Decoration;
pub use bindings::hooks_plugin::exports::patchbay::plugin::hooks::{Draft, Moment, Refusal, Verdict};
pub use bindings::jobs_plugin::exports::patchbay::plugin::jobs::DueJob;
pub use serde_json::{Value, from_slice, json};

/// A plugin that answers the routes of its manifest.
pub trait Http {
    /// Answers one request by writing to `response`. `caller` is there whenever the route requires
    /// authentication or the client offered it. The answer ends when this returns.
    ///
    /// # Errors
    /// An error before [`Response::start`] becomes a problem document of the fitting status: 404, 403, 422,
    /// 409, 503 or 500.
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error>;
}

/// A plugin that adds something to messages when they are read.
pub trait Decorator {
    /// What to add to `messages` (1 to 200 ids that the viewer may read, each once). The budget is short: a
    /// plugin that misses it is left out of the page.
    ///
    /// # Errors
    /// Any error leaves the plugin out of the page.
    fn decorate(viewer: &Actor, messages: Vec<MessageId>) -> Result<Vec<Decoration>, Error>;
}

/// A plugin that follows what happens.
pub trait Events {
    /// Takes 1 to 64 entries in order, and tells of each, or of the first ones up to one that is to come again, what
    /// became of it. They come at least once: handling one twice must do no harm.
    ///
    /// # Errors
    /// Any error makes all of them come again.
    fn handle(entries: Vec<Entry>) -> Result<Vec<Outcome>, Error>;
}

/// A plugin that looks at messages before they are stored.
pub trait Hooks {
    /// What is to become of a message. The budget is short.
    ///
    /// # Errors
    /// Whether an error lets the message pass, the operator decides.
    fn before_message(draft: Draft) -> Result<Verdict, Error>;
}

/// A plugin that answers slash commands.
pub trait Commands {
    /// Runs a command for its caller.
    ///
    /// # Errors
    /// An error becomes a problem document of the fitting status.
    fn run(caller: &Actor, invocation: Invocation) -> Result<Reply, Error>;
}

/// A plugin with scheduled jobs.
pub trait Jobs {
    /// Runs a job that has come due. At least once: doing it twice must do no harm.
    ///
    /// # Errors
    /// Any error makes it come again, some times.
    fn run(job: DueJob) -> Result<(), Error>;
}

/// A plugin that must know of its own changes.
pub trait Lifecycle {
    /// Called once per version before it serves.
    ///
    /// # Errors
    /// An error keeps the version out.
    fn activate(previous: Option<String>) -> Result<(), Error>;

    /// The plugin has missed events before `next`.
    ///
    /// # Errors
    /// An error makes it be called again.
    fn resync(next: u64) -> Result<(), Error>;
}

impl<T: Events> bindings::events_plugin::exports::patchbay::plugin::events::Guest for T {
    fn handle(entries: Vec<Entry>) -> Result<Vec<Outcome>, Error> {
        T::handle(entries)
    }
}

impl<T: Hooks> bindings::hooks_plugin::exports::patchbay::plugin::hooks::Guest for T {
    fn before_message(draft: Draft) -> Result<Verdict, Error> {
        T::before_message(draft)
    }
}

impl<T: Commands> bindings::commands_plugin::exports::patchbay::plugin::commands::Guest for T {
    fn run(caller: &Actor, invocation: Invocation) -> Result<Reply, Error> {
        T::run(caller, invocation)
    }
}

impl<T: Jobs> bindings::jobs_plugin::exports::patchbay::plugin::jobs::Guest for T {
    fn run(job: DueJob) -> Result<(), Error> {
        T::run(job)
    }
}

impl<T: Lifecycle> bindings::lifecycle_plugin::exports::patchbay::plugin::lifecycle::Guest for T {
    fn activate(previous: Option<String>) -> Result<(), Error> {
        T::activate(previous)
    }

    fn resync(next: u64) -> Result<(), Error> {
        T::resync(next)
    }
}

impl<T: Http> bindings::http_plugin::exports::patchbay::plugin::http::Guest for T {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        T::handle(request, caller, response)
    }
}

impl<T: Decorator> bindings::decorator_plugin::exports::patchbay::plugin::decorator::Guest for T {
    fn decorate(viewer: &Actor, messages: Vec<MessageId>) -> Result<Vec<Decoration>, Error> {
        T::decorate(viewer, messages)
    }
}

/// Makes a type the plugin: `register!(Type: http, decorator);`. Names the exports that it implements, each
/// a trait of this crate; the component exports these and no others. Once per component.
///
/// On other targets than WebAssembly it only checks the type, so that a plugin's tests run anywhere.
#[macro_export]
macro_rules! register {
    ($ty:ident : $($export:ident),+ $(,)?) => {
        $( $crate::register!(@export $ty $export); )+
    };
    (@export $ty:ident http) => {
        const _: () = {
            const fn implements<T: $crate::Http>() {}
            implements::<$ty>();
        };
        // The exports' names are no names for a linker script, which other targets write.
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::http_plugin::export_http!($ty with_types_in $crate::bindings::http_plugin);
    };
    (@export $ty:ident decorator) => {
        const _: () = {
            const fn implements<T: $crate::Decorator>() {}
            implements::<$ty>();
        };
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::decorator_plugin::export_decorator!($ty with_types_in $crate::bindings::decorator_plugin);
    };
    (@export $ty:ident events) => {
        const _: () = {
            const fn implements<T: $crate::Events>() {}
            implements::<$ty>();
        };
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::events_plugin::export_events!($ty with_types_in $crate::bindings::events_plugin);
    };
    (@export $ty:ident hooks) => {
        const _: () = {
            const fn implements<T: $crate::Hooks>() {}
            implements::<$ty>();
        };
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::hooks_plugin::export_hooks!($ty with_types_in $crate::bindings::hooks_plugin);
    };
    (@export $ty:ident commands) => {
        const _: () = {
            const fn implements<T: $crate::Commands>() {}
            implements::<$ty>();
        };
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::commands_plugin::export_commands!($ty with_types_in $crate::bindings::commands_plugin);
    };
    (@export $ty:ident jobs) => {
        const _: () = {
            const fn implements<T: $crate::Jobs>() {}
            implements::<$ty>();
        };
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::jobs_plugin::export_jobs!($ty with_types_in $crate::bindings::jobs_plugin);
    };
    (@export $ty:ident lifecycle) => {
        const _: () = {
            const fn implements<T: $crate::Lifecycle>() {}
            implements::<$ty>();
        };
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::lifecycle_plugin::export_lifecycle!($ty with_types_in $crate::bindings::lifecycle_plugin);
    };
}
