//! Writes the table of emoji: every fully qualified emoji and skin tone that the `emojis` crate knows, sorted
//! by its text without variation selectors. As a sorted text it costs the component 70 KB and nothing at
//! start; the crate itself, with names and hashes, would cost 700.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a build script fails by panicking")]

use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut table = BTreeMap::new();
    for emoji in emojis::iter() {
        let tones = emoji.skin_tones().into_iter().flatten();
        for text in tones.chain([emoji]).map(|emoji| emoji.as_str()) {
            let bare: String = text.chars().filter(|c| *c != '\u{fe0f}').collect();
            let earlier = table.insert(bare, text);
            assert!(earlier.is_none_or(|earlier| earlier == text), "{text} differs by selectors only");
        }
    }
    let text: String = table.values().copied().collect();
    let mut ends = String::new();
    let mut end = 0;
    for emoji in table.values() {
        end += emoji.len();
        write!(ends, "{end},").expect("a string grows");
    }
    let source = format!(
        "static TEXT: &str = {text:?};\nstatic ENDS: [u32; {}] = [{}];\n",
        table.len(),
        ends.trim_end_matches(',')
    );
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("table.rs"), source).expect("cargo's directory is writable");
}
