//! What wasmtime generates from `wit/`: the imports once, and each export by itself, so that a component may
//! lack any of them.
//!
//! Owns: nothing by hand. Must not: be seen outside this crate.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod imports {
    wasmtime::component::bindgen!({
        world: "imports",
        path: "../../wit",
        imports: {
            "patchbay:plugin/types": trappable,
            "patchbay:plugin/log": trappable,
            default: async | trappable,
        },
        with: {
            "patchbay:plugin/types.actor": patchbay_core::Actor,
            "patchbay:plugin/http-types.response": crate::response::Response,
            "patchbay:plugin/llm.answer": crate::capabilities::llm::Answer,
        },
    });
}

pub(crate) mod http_plugin {
    wasmtime::component::bindgen!({
        world: "http-plugin",
        path: "../../wit",
        exports: { default: async },
        with: {
            "patchbay:plugin/types": crate::bindings::imports::patchbay::plugin::types,
            "patchbay:plugin/http-types": crate::bindings::imports::patchbay::plugin::http_types,
        },
    });
}

pub(crate) mod decorator_plugin {
    wasmtime::component::bindgen!({
        world: "decorator-plugin",
        path: "../../wit",
        exports: { default: async },
        with: {
            "patchbay:plugin/types": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

pub(crate) mod events_plugin {
    wasmtime::component::bindgen!({
        world: "events-plugin",
        path: "../../wit",
        exports: { default: async },
        with: {
            "patchbay:plugin/types": crate::bindings::imports::patchbay::plugin::types,
            "patchbay:plugin/event-types": crate::bindings::imports::patchbay::plugin::event_types,
        },
    });
}

pub(crate) mod hooks_plugin {
    wasmtime::component::bindgen!({
        world: "hooks-plugin",
        path: "../../wit",
        exports: { default: async },
        with: {
            "patchbay:plugin/types": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

pub(crate) mod commands_plugin {
    wasmtime::component::bindgen!({
        world: "commands-plugin",
        path: "../../wit",
        exports: { default: async },
        with: {
            "patchbay:plugin/types": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

pub(crate) mod jobs_plugin {
    wasmtime::component::bindgen!({
        world: "jobs-plugin",
        path: "../../wit",
        exports: { default: async },
        with: {
            "patchbay:plugin/types": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

pub(crate) mod lifecycle_plugin {
    wasmtime::component::bindgen!({
        world: "lifecycle-plugin",
        path: "../../wit",
        exports: { default: async },
        with: {
            "patchbay:plugin/types": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

pub(crate) use commands_plugin::CommandsPluginIndices;
pub(crate) use commands_plugin::exports::patchbay::plugin::commands as commands_export;
pub(crate) use decorator_plugin::DecoratorPluginIndices;
pub(crate) use decorator_plugin::exports::patchbay::plugin::decorator::Decoration;
pub(crate) use events_plugin::EventsPluginIndices;
pub(crate) use hooks_plugin::HooksPluginIndices;
pub(crate) use hooks_plugin::exports::patchbay::plugin::hooks as hooks_export;
pub(crate) use http_plugin::HttpPluginIndices;
pub(crate) use imports::patchbay::plugin as wit;
pub(crate) use jobs_plugin::JobsPluginIndices;
pub(crate) use jobs_plugin::exports::patchbay::plugin::jobs as jobs_export;
pub(crate) use lifecycle_plugin::LifecyclePluginIndices;
