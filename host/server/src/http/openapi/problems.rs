//! The codes of problem documents: the one table of what each means.
//!
//! Owns: the list that clients may rely on. Must not: decide which error gets which code; `ops` and the runtime do.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Every code with its statuses and its meaning.
pub(super) const CODES: &[(&str, &str, &str)] = &[
    ("400", "malformed_json", "The body is not JSON."),
    ("400", "malformed_multipart", "The body is not a multipart form."),
    ("400", "malformed_request", "This is not HTTP/1.1; may come on any path, and ends the connection."),
    ("400", "incomplete_body", "The body broke off."),
    ("401", "unauthenticated", "A valid access token is needed."),
    ("401", "invalid_credentials", "Username or password is wrong."),
    ("401", "refresh_token_reused", "The refresh token was used before: its session has been ended."),
    ("403", "forbidden", "The caller may know of it but may not do this."),
    ("403", "invite_required", "An invitation is needed to register."),
    ("403", "invite_invalid", "There is no such invitation, or it was taken back."),
    ("403", "invite_expired", "The invitation has expired."),
    ("403", "invite_used", "The invitation has been used as often as it may."),
    ("403", "invite_for_another", "The invitation is for another e-mail address."),
    ("403", "depth_exceeded", "Plugins have set each other off too often."),
    ("404", "not_found", "There is nothing at this path."),
    ("404", "user_not_found", "There is no such user."),
    ("404", "channel_not_found", "There is no such channel, or the caller may not know of it."),
    ("404", "member_not_found", "The user is not a member of the channel."),
    ("404", "message_not_found", "There is no such message, or the caller may not read it."),
    ("404", "reaction_not_found", "The caller has not reacted that way."),
    ("404", "session_not_found", "The caller has no such session."),
    ("404", "plugin_not_found", "No plugin of that name is installed."),
    ("404", "file_not_found", "There is no such file, or the caller may not read it."),
    ("404", "pin_not_found", "The message is not pinned."),
    ("404", "profile_picture_not_found", "The user has no profile picture."),
    ("404", "thumbnail_not_found", "The file is no image, or none that could be decoded."),
    ("404", "invite_not_found", "There is no such invitation."),
    ("404", "command_not_found", "No plugin answers this command."),
    ("404", "voice_participant_not_found", "The user is not in this voice channel."),
    ("405", "method_not_allowed", "The path does not have this method; `Allow` lists those it has."),
    ("408", "request_timeout", "The request came too slowly; may come on any path, and ends the connection."),
    ("409", "username_taken", "Another account has this username."),
    ("409", "email_taken", "Another account has this e-mail address."),
    ("409", "last_owner", "A channel keeps at least one owner."),
    ("409", "last_superuser", "A deployment keeps at least one superuser who can log in."),
    ("409", "too_many_pins", "The channel has as many pins as it can."),
    ("409", "too_many_reactions", "The message has as many different reactions as it can."),
    ("409", "managed_by_settings", "The operator's settings file decides this."),
    ("409", "bundled", "The plugin came with the host: it can be disabled, not removed."),
    ("409", "nothing_to_roll_back", "No version served before this one."),
    ("409", "plugin_not_serving", "The plugin is disabled, waits, failed or is in quarantine."),
    ("409", "no_events", "The plugin does not serve, or follows no events."),
    ("409", "not_a_voice_channel", "The channel is not for voice (`is_vc`)."),
    ("409", "room_full", "The voice channel has as many people as it may."),
    ("409", "conflict", "It contradicts what is there."),
    ("413", "too_large", "The body is larger than may be."),
    ("413", "quota_exceeded", "The caller's files together would be more than may be."),
    ("415", "unsupported_media_type", "The body is of another media type than the operation takes."),
    ("416", "range_not_satisfiable", "The file has no such range."),
    ("422", "validation_failed", "A field or parameter is wrong; `errors` says which and why."),
    ("422", "message_refused", "A plugin refused the message; `errors` has its own code and reason."),
    ("422", "command_refused", "The plugin refused the command; `errors` has its own code and reason."),
    ("422", "name_mismatch", "The component's manifest has another name than the path."),
    ("422", "not_a_component", "The body is no WebAssembly component."),
    ("422", "malformed_component", "The component is broken."),
    ("422", "manifest_missing", "The component carries no manifest."),
    ("422", "manifest_invalid", "The component's manifest, or its part of this document, breaks a rule."),
    ("422", "import_unknown", "The component imports what this host does not offer."),
    ("422", "capability_undeclared", "The component imports what its manifest does not ask for."),
    ("422", "capability_not_granted", "The plugin needs capabilities that were not granted."),
    ("422", "route_not_granted", "The plugin needs routes that were not granted."),
    ("422", "route_conflict", "The host or another plugin has this route."),
    ("422", "command_conflict", "Another plugin has this command."),
    ("422", "activate_failed", "The plugin did not accept its activation."),
    ("422", "export_mismatch", "The component's exports don't fit the contract."),
    ("422", "import_mismatch", "The component's imports don't fit the contract."),
    ("422", "compile_failed", "The component can't be compiled."),
    ("422", "compile_timeout", "The component was not compiled in time."),
    ("422", "signature_missing", "Only signed components are accepted here."),
    ("422", "signature_invalid", "The component's signature is malformed or of other bytes."),
    ("422", "signature_untrusted", "The component was signed with a key that is not trusted here."),
    ("422", "resources_exceeded", "The component needs more than its limits."),
    ("422", "start_failed", "The component does not start."),
    ("422", "config_required", "The plugin can't do without config values that are not set."),
    ("426", "upgrade_required", "This path is a WebSocket's."),
    (
        "429",
        "rate_limited",
        "Too many requests of this user or address; `Retry-After` says when to try again.",
    ),
    (
        "431",
        "header_too_large",
        "Headers are too many or too large; may come on any path, and ends the connection.",
    ),
    ("500", "internal_error", "The server failed and has logged why."),
    ("502", "plugin_failed", "The plugin failed."),
    ("502", "plugin_trapped", "The plugin crashed."),
    ("502", "plugin_memory_exceeded", "The plugin used more memory than it may."),
    ("502", "plugin_limit_exceeded", "The plugin reached one of its limits."),
    ("502", "plugin_no_response", "The plugin gave no answer."),
    ("502", "plugin_invalid_response", "The plugin's answer breaks the contract."),
    ("503", "unavailable", "It can't be done now; `Retry-After` says when to try again."),
    ("503", "timed_out", "The server could not answer in time; `Retry-After` says when to try again."),
    ("503", "plugin_busy", "The plugin has too many calls; `Retry-After` says when to try again."),
    ("503", "plugin_quarantined", "The plugin failed too often; an operator must let it serve again."),
    ("503", "llm_not_configured", "The operator set up no language model for this."),
    ("503", "llm_budget_exceeded", "The plugin has used up its tokens of language models of today."),
    ("503", "llm_busy", "The language model has too much to do; trying again later can help."),
    ("503", "llm_failed", "The language model gave no answer that could be used."),
    ("503", "vectors_full", "The plugin keeps as many vectors as it may."),
    ("503", "vectors_unavailable", "The plugin's vectors can't be reached."),
    ("504", "plugin_deadline_exceeded", "The plugin used up its CPU budget."),
    ("504", "plugin_timeout", "The plugin took too long."),
    ("505", "version_not_supported", "Only HTTP/1.0 and HTTP/1.1 are spoken."),
];

/// What a plugin's route can answer without the plugin's doing.
pub(in crate::http) const OF_PLUGINS: &[(u16, &[&str])] = &[
    (
        502,
        &[
            "plugin_failed",
            "plugin_trapped",
            "plugin_memory_exceeded",
            "plugin_limit_exceeded",
            "plugin_no_response",
            "plugin_invalid_response",
        ],
    ),
    (429, &["rate_limited"]),
    (503, &["plugin_busy", "plugin_limit_exceeded", "plugin_quarantined", "timed_out", "unavailable"]),
    (504, &["plugin_deadline_exceeded", "plugin_timeout"]),
];

/// What a plugin that uses these capabilities can pass on, all with status 503.
pub(in crate::http) const OF_CAPABILITIES: &[(&str, &[&str])] = &[
    ("llm", &["llm_not_configured", "llm_budget_exceeded", "llm_busy", "llm_failed"]),
    ("vectors", &["vectors_full", "vectors_unavailable"]),
];

/// The codes with which a component is refused.
pub(in crate::http) const OF_COMPONENTS: &[&str] = &[
    "name_mismatch",
    "not_a_component",
    "malformed_component",
    "manifest_missing",
    "manifest_invalid",
    "import_unknown",
    "capability_undeclared",
    "capability_not_granted",
    "route_not_granted",
    "route_conflict",
    "command_conflict",
    "activate_failed",
    "export_mismatch",
    "import_mismatch",
    "compile_failed",
    "compile_timeout",
    "signature_missing",
    "signature_invalid",
    "signature_untrusted",
    "resources_exceeded",
    "start_failed",
    "too_large",
    "config_required",
];

/// The table as Markdown.
pub(super) fn table() -> String {
    let rows = CODES.iter().map(|(status, code, meaning)| format!("| {status} | `{code}` | {meaning} |\n"));
    format!("| status | code | meaning |\n| --- | --- | --- |\n{}", rows.collect::<String>())
}

/// A reference to the response of that status with those codes, which is made if it isn't there yet. Long sets
/// of codes are named after the operation that has them.
pub(super) fn response(
    shared: &mut Map<String, Value>,
    status: u16,
    codes: &BTreeSet<&'static str>,
    operation: &str,
) -> Value {
    let listed = codes.iter().copied().collect::<Vec<_>>();
    let suffix = if listed.len() > 3 { operation.to_owned() } else { listed.join(".") };
    let name = format!("{status}.{suffix}");
    shared.entry(name.clone()).or_insert_with(|| document(status, &listed));
    json!({ "$ref": format!("#/components/responses/{name}") })
}

fn document(status: u16, codes: &[&str]) -> Value {
    let meanings = codes.iter().map(|code| {
        let meaning = CODES.iter().find(|(_, known, _)| known == code).map_or("", |(_, _, meaning)| meaning);
        format!("`{code}`: {meaning}")
    });
    let mut headers = super::request_id_header();
    match status {
        401 => headers["WWW-Authenticate"] = json!({ "$ref": "#/components/headers/WWW-Authenticate" }),
        429 | 503 => headers["Retry-After"] = json!({ "$ref": "#/components/headers/Retry-After" }),
        405 => headers["Allow"] = json!({ "$ref": "#/components/headers/Allow" }),
        _ => {}
    }
    let code = if let [code] = codes { json!({ "const": code }) } else { json!({ "enum": codes }) };
    json!({
        "description": meanings.collect::<Vec<_>>().join("\n\n"),
        "headers": headers,
        "content": { "application/problem+json": { "schema": {
            "allOf": [{ "$ref": "#/components/schemas/Problem" }],
            "properties": { "status": { "const": status }, "code": code },
        } } },
    })
}
