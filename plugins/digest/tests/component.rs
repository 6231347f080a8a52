//! The component itself, on the mock host.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail where it stands")]

use std::time::Duration;

use patchbay_sdk::mock::Mock;

/// What `cargo xtask plugins` makes.
const COMPONENT: &str = "../../target/plugins/digest.wasm";
const DAY: Duration = Duration::from_hours(24);

/// A channel of two and the bot, with a digest.
fn with_digest() -> Mock {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.user("ben");
    mock.channel("general", &["ann", "ben", "digest"]);
    assert_eq!(mock.command("ann", "general", "/digest 08:00 Europe/Berlin").unwrap(), None);
    mock
}

fn said(mock: &Mock) -> Vec<String> {
    mock.messages("general").iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_day_is_told_once_and_a_quiet_one_not_at_all() {
    let mock = with_digest();
    let root = mock.post("ann", "general", "lunch?").unwrap()["id"].as_i64().unwrap();
    mock.react("ben", root, "👍");
    mock.advance(DAY);
    mock.run_jobs();
    let digest = "1 message by 1 person since the last digest.\n\nMost reactions:\n- “lunch?” (1)";
    assert_eq!(said(&mock).iter().filter(|text| *text == digest).count(), 1);
    let before = said(&mock).len();
    for _ in 0..3 {
        mock.advance(DAY);
        mock.run_jobs();
    }
    assert_eq!(said(&mock).len(), before, "nothing was said on these days");
    mock.post("ben", "general", "hello?").unwrap();
    mock.advance(DAY);
    mock.run_jobs();
    assert_eq!(said(&mock).len(), before + 2);
}

#[test]
fn it_ends_when_it_is_turned_off() {
    let mock = with_digest();
    mock.post("ann", "general", "lunch?").unwrap();
    assert_eq!(mock.command("ben", "general", "/digest off").unwrap(), None);
    assert_eq!(mock.command("ben", "general", "/digest off").unwrap().unwrap(), "There was none.");
    assert!(mock.jobs().is_empty());
    mock.advance(DAY);
    mock.run_jobs();
    assert!(!said(&mock).iter().any(|text| text.contains("last digest")));
}

#[test]
fn it_has_to_be_let_in() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.channel("private", &["ann"]);
    let refused = mock.command("ann", "private", "/digest 08:00").unwrap_err();
    assert!(format!("{refused:?}").contains("add it first"), "{refused:?}");
    assert!(mock.jobs().is_empty());
}
