//! `languages`: the same plugin in Rust, JavaScript and Python (what `patchbay plugin new` makes): how large it is, how long it
//! takes to compile and to load, what a call costs in a fresh instance and in one that has served others.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use patchbay_mock::{Command, Mock, Name, Options};

use crate::{
    Outcome,
    report::{Series, publish, root},
};

const ROUNDS: usize = 5;
const CALLS: usize = 100;
/// The project, and the names of its rows.
const LANGUAGES: [(&str, &str, &str); 3] = [
    ("my-rust", "Rust, fresh instance", "Rust, reused instance"),
    ("my-js", "JavaScript, fresh instance", "JavaScript, reused instance"),
    ("my-python", "Python, fresh instance", "Python, reused instance"),
];

pub fn run() -> Outcome {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(measure())
}

async fn measure() -> Outcome {
    let mut series = Vec::new();
    for (project, fresh, reused) in LANGUAGES {
        let file = root().join(format!("target/examples/{project}/dist/{project}.wasm"));
        let Ok(component) = fs::read(&file).map(Bytes::from) else {
            println!("languages: SKIPPED {project}: `cargo xtask examples` builds {}", file.display());
            continue;
        };
        let cache = tempfile::tempdir()?;
        let began = Instant::now();
        drop(Mock::load(component.clone(), Options::new(cache.path())).await?);
        let compiled = began.elapsed();
        let began = Instant::now();
        let mock = Mock::load(component.clone(), Options::new(cache.path())).await?;
        let loaded = began.elapsed();
        drop(mock);
        series.push(calls(fresh, project, &component, &cache, 1).await?);
        series.push(calls(reused, project, &component, &cache, 10_000).await?);
        println!(
            "languages: {project}: {} KiB, compiled in {:.1} s, loaded from the cache in {} ms",
            component.len().div_ceil(1024),
            compiled.as_secs_f32(),
            loaded.as_millis()
        );
    }
    publish("languages", &series.iter().collect::<Vec<_>>(), &[])?;
    Ok(())
}

/// Types the plugin's command again and again.
async fn calls(
    name: &'static str,
    project: &str,
    component: &Bytes,
    cache: &tempfile::TempDir,
    reuse_calls: u32,
) -> Result<Series, Box<dyn std::error::Error>> {
    let mut options = Options::new(cache.path());
    options.limits.reuse_calls = reuse_calls;
    let mock = Mock::load(component.clone(), options).await?;
    let ann = || Name::Name("ann".to_owned());
    let general = || Name::Name("general".to_owned());
    mock.run(Command::User { name: "ann".to_owned(), superuser: false }).await?;
    mock.run(Command::Channel { name: "general".to_owned(), members: vec![ann()], public: false }).await?;
    let mut series = Series::new(name);
    for _ in 0..ROUNDS {
        let mut times: Vec<Duration> = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let command = Command::Command { r#as: ann(), channel: general(), text: format!("/{project}") };
            let began = Instant::now();
            mock.run(command).await?;
            times.push(began.elapsed());
        }
        series.round(times);
    }
    let memory = mock.plugin().stats().read().peak_memory.div_ceil(1 << 20);
    println!("languages: {name}: {memory} MiB at most");
    Ok(series)
}
