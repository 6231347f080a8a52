//! What wit-bindgen generates from `wit/`: the imports once, and a world per export that refers to them, so
//! that a component exports only what it registered.
//!
//! Owns: nothing by hand. Must not: be used directly; the crate's root names what is public.
#![allow(unsafe_code, missing_docs, clippy::all, clippy::pedantic)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Everything that a plugin can import.
pub mod imports {
    wit_bindgen::generate!({
        world: "imports",
        path: "../../wit",
        generate_unused_types: true,
    });
}

/// The export `http`.
pub mod http_plugin {
    wit_bindgen::generate!({
        world: "http-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_http",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
            "patchbay:plugin/http-types@0.1.0": crate::bindings::imports::patchbay::plugin::http_types,
        },
    });
}

/// The export `decorator`.
pub mod decorator_plugin {
    wit_bindgen::generate!({
        world: "decorator-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_decorator",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}
