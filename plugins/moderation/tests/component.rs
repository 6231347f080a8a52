//! The component itself, on the mock host.

use patchbay_sdk::{json, mock::Mock};

/// What `cargo xtask plugins` makes.
const COMPONENT: &str = "../../target/plugins/moderation.wasm";

#[test]
fn without_settings_anything_may_be_said() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.channel("general", &["ann"]);
    mock.post("ann", "general", "spam @a @b @c https://example.com").unwrap();
}

#[test]
fn refusals_are_reported_without_what_was_said() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.channel("general", &["ann"]);
    let reports = mock.channel("reports", &["moderation"]);
    mock.config("words", json!(["spam"]));
    mock.config("report_channel", reports);
    let refused = mock.post("ann", "general", "Spam!").unwrap_err();
    assert!(format!("{refused:?}").contains("word_not_allowed"), "{refused:?}");
    assert!(mock.messages("general").is_empty());
    let told = mock.messages("reports")[0]["content"].as_str().unwrap().to_owned();
    assert!(told.starts_with("A message by ann in channel ") && !told.contains("Spam"), "{told}");
}
