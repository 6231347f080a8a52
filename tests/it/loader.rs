//! A fuzzer of the loader: real components, mutated with a knowledge of their structure, installed into a real server.
//! Each is refused by name or loads; the server lives, logs no error, and serves the others.
//!
//! `PATCHBAY_FUZZ_SECONDS` makes it run longer and from a seed that is new each time (`cargo xtask fuzz`);
//! `PATCHBAY_FUZZ_SEED` repeats one.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use fastrand::Rng;
use patchbay_tests::{TestApp, User, component, guest, json, leb, manifest, packed, without_manifest};
use wasmparser::{Parser, Payload};

/// Long enough for some hundred in every run of the suite.
const SECONDS: u64 = 10;

#[allow(clippy::disallowed_methods)] // Tests have no settings of their own.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test]
async fn a_mutated_component_is_refused_by_name_or_loads() {
    let longer = number("PATCHBAY_FUZZ_SECONDS");
    let time = Duration::from_secs(longer.unwrap_or(SECONDS));
    let of_default = if longer.is_some() { fastrand::u64(..) } else { 1 };
    let seed = number("PATCHBAY_FUZZ_SEED").unwrap_or(of_default);
    println!("PATCHBAY_FUZZ_SEED={seed}");
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "hello").await;
    let whoami = guest("whoami");
    // Of the other two, what is inside; the name has to fit.
    let as_whoami = |other: Vec<u8>| packed(&without_manifest(&other), &manifest(&whoami));
    let sources = [whoami.clone(), as_whoami(component("reactions")), as_whoami(guest("trap"))];
    ann.install("whoami", whoami.clone()).await.expect(201);
    let (started, mut loaded, mut refused) = (Instant::now(), 0u32, 0u32);
    for round in 0.. {
        if started.elapsed() > time {
            break;
        }
        let seed = seed.wrapping_add(round);
        let bytes = mutated(&mut Rng::with_seed(seed), &sources);
        if install(&ann, seed, bytes).await {
            loaded += 1
        } else {
            refused += 1
        }
        if round % 20 == 0 {
            let list = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
            assert_eq!(list["items"][0]["extensions"]["reactions"], json!([]), "seed {seed}: {list:#}");
        }
    }
    println!("{loaded} loaded, {refused} refused");
    assert!(loaded > 0 && refused > 20, "{loaded} loaded, {refused} refused: these mutations try little");
    ann.install("whoami", whoami).await.expect(200);
    ann.get("/api/plugins/whoami/me").await.expect(200);
}

/// Whether it loaded. The answers are checked against the document, which lists the codes.
async fn install(ann: &User, seed: u64, bytes: Vec<u8>) -> bool {
    let answer = ann.install("whoami", bytes).await;
    if answer.status != 200 {
        assert_eq!(answer.status, 422, "seed {seed}: {:#}", answer.body);
        let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
        assert_ne!(code, "validation_failed", "seed {seed}");
        assert_eq!(answer.problem(422), code, "seed {seed}");
        return false;
    }
    // What it answers is its own affair; that the host survives it is not.
    let request = ann.request(reqwest::Method::GET, "/api/plugins/whoami/me");
    let status = request.send().await.unwrap().status();
    assert_ne!(status, 500, "seed {seed}");
    true
}

fn mutated(rng: &mut Rng, sources: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = sources[rng.usize(..sources.len())].clone();
    for _ in 0..rng.usize(1..4) {
        mutate(rng, &mut bytes, sources);
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, sources: &[Vec<u8>]) {
    match rng.u8(..10) {
        // Anywhere: bits, bytes, an end.
        0 => {
            let all = 0..bytes.len();
            flip(rng, bytes, all);
        }
        1 => bytes.truncate(rng.usize(..bytes.len())),
        2 => {
            let at = rng.usize(..bytes.len());
            let garbage: Vec<u8> = (0..rng.usize(1..32)).map(|_| rng.u8(..)).collect();
            bytes.splice(at..at, garbage);
        }
        // With a knowledge of sections, at whatever depth.
        kind => {
            let Some(section) = pick(rng, sections(bytes)) else { return };
            match kind {
                3 => drop(bytes.drain(section)),
                4 => {
                    let copy = bytes[section.clone()].to_vec();
                    bytes.splice(section.start..section.start, copy);
                }
                5 => {
                    let other = &sources[rng.usize(..sources.len())];
                    let Some(from) = pick(rng, sections(other)) else { return };
                    bytes.splice(section, other[from].to_vec());
                }
                6 => bytes.truncate(section.start),
                7 => {
                    let manifest = lied(rng, &manifest_of(bytes));
                    if let Some(bare) = bare(bytes) {
                        *bytes = packed(&bare, &manifest);
                    }
                }
                8 => {
                    // Its own length, with which the reader goes on.
                    let mut length = Vec::new();
                    leb(rng.usize(..bytes.len() * 2), &mut length);
                    let at = (section.start + 1).min(bytes.len());
                    let end = (at + length.len()).min(bytes.len());
                    bytes.splice(at..end, length);
                }
                _ => flip(rng, bytes, section),
            }
        }
    }
}

fn flip(rng: &mut Rng, bytes: &mut [u8], range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    for _ in 0..rng.usize(1..9) {
        bytes[rng.usize(range.clone())] ^= 1 << rng.u8(..8);
    }
}

fn pick<T>(rng: &mut Rng, mut items: Vec<T>) -> Option<T> {
    if items.is_empty() { None } else { Some(items.swap_remove(rng.usize(..items.len()))) }
}

/// Where the contents of sections lie, as far as the bytes can be read.
fn sections(bytes: &[u8]) -> Vec<Range<usize>> {
    let payloads = Parser::new(0).parse_all(bytes).map_while(Result::ok);
    let range = |payload: Payload<'_>| match payload {
        Payload::CodeSectionEntry(body) => Some(body.range()),
        other => other.as_section().map(|(_, range)| range),
    };
    payloads
        .filter_map(range)
        .map(|range| range.start as usize..range.end as usize)
        .filter(|range| range.end <= bytes.len())
        .collect()
}

fn bare(bytes: &[u8]) -> Option<Vec<u8>> {
    let name = b"patchbay:manifest";
    bytes.windows(name.len()).any(|window| window == name).then(|| without_manifest(bytes))
}

fn manifest_of(bytes: &[u8]) -> String {
    let name = b"patchbay:manifest";
    let at = bytes.windows(name.len()).rposition(|window| window == name);
    at.map(|at| String::from_utf8_lossy(&bytes[at + name.len()..]).into_owned()).unwrap_or_default()
}

/// A manifest with a line gone, doubled, or with something else in it.
fn lied(rng: &mut Rng, manifest: &str) -> String {
    let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return String::new();
    }
    let at = rng.usize(..lines.len());
    let odd = [
        "name = \"reactions\"",
        "version = \"-1\"",
        "capabilities = [\"kv\", \"log\", \"\"]",
        "[[routes]]\nmethod = \"GET\"\npath = \"/api/messages/{id}\"\nauth = \"none\"",
        "[[routes]]\nmethod = \"GET\"\npath = \"/api/plugins/whoami/{x}/{x}\"\nauth = \"none\"",
        "openapi = \"openapi.json\"",
        "description = \"\\u0000\"",
        "]]",
        "x = [[[[[[[[[[[[[[[[",
    ];
    match rng.u8(..4) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines[at] = odd[rng.usize(..odd.len())].to_owned(),
        _ => lines.insert(at, odd[rng.usize(..odd.len())].to_owned()),
    }
    lines.join("\n")
}
