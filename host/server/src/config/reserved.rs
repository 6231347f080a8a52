//! Names that the API contract promises and that nothing here looks at yet. A deployment's file that sets them
//! is not refused; the server says at start that they have no effect.

use super::source::Setting;

const fn reserved(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, meaning, allowed: "not used by this version" }
}

pub(super) const SETTINGS: &[Setting] = &[
    reserved("ai.base_url", "", " The OpenAI-compatible server."),
    reserved("ai.api_key", "", " Its key."),
    reserved("ai.model", "", " The model that answers."),
    reserved("ai.embedding_model", "", " The model that embeds."),
    reserved("vectors.url", "", " Where vectors are kept."),
];
