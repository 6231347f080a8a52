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

pub(crate) use decorator_plugin::DecoratorPluginIndices;
pub(crate) use decorator_plugin::exports::patchbay::plugin::decorator::Decoration;
pub(crate) use http_plugin::HttpPluginIndices;
pub(crate) use imports::patchbay::plugin as wit;
