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

/// The export `events`.
pub mod events_plugin {
    wit_bindgen::generate!({
        world: "events-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_events",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
            "patchbay:plugin/event-types@0.1.0": crate::bindings::imports::patchbay::plugin::event_types,
        },
    });
}

/// The export `hooks`.
pub mod hooks_plugin {
    wit_bindgen::generate!({
        world: "hooks-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_hooks",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

/// The export `commands`.
pub mod commands_plugin {
    wit_bindgen::generate!({
        world: "commands-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_commands",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

/// The export `command-help`.
pub mod command_help_plugin {
    wit_bindgen::generate!({
        world: "command-help-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_command_help",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

/// The export `jobs`.
pub mod jobs_plugin {
    wit_bindgen::generate!({
        world: "jobs-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_jobs",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}

/// The export `lifecycle`.
pub mod lifecycle_plugin {
    wit_bindgen::generate!({
        world: "lifecycle-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        with: {
            "patchbay:plugin/types@0.1.0": crate::bindings::imports::patchbay::plugin::types,
        },
    });
}
