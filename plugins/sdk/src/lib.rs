//! What a Patchbay plugin written in Rust depends on.
//!
//! Implement a trait per export ([`Http`], [`Decorator`]), name them in [`register!`], and call the host
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
//! Owns: the Rust face of the contract in `wit/`. Must not: import anything that its user did not call, or
//! run code when a component starts.

pub mod answer;
#[doc(hidden)]
pub mod bindings;
mod error;
pub mod input;
pub mod memory;
pub mod text;

/// Channels, as the actor sees them (`patchbay:plugin/channels`).
pub use bindings::imports::patchbay::plugin::channels;
pub use bindings::imports::patchbay::plugin::http_types::{Request, Response};
/// The plugin's own durable state (`patchbay:plugin/kv`).
pub use bindings::imports::patchbay::plugin::kv;
/// The plugin's log, which its operator reads (`patchbay:plugin/log`).
pub use bindings::imports::patchbay::plugin::log;
/// Messages, read and written with the actor's permissions (`patchbay:plugin/messages`).
pub use bindings::imports::patchbay::plugin::messages;
/// The reactions to messages (`patchbay:plugin/reactions`).
pub use bindings::imports::patchbay::plugin::reactions;
pub use bindings::imports::patchbay::plugin::types::{
    Actor, ChannelId, Error, MessageId, Reason, Timestamp, UserId,
};
/// The public part of users' profiles (`patchbay:plugin/users`).
pub use bindings::imports::patchbay::plugin::users;

pub use bindings::decorator_plugin::exports::patchbay::plugin::decorator::Decoration;
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
}
