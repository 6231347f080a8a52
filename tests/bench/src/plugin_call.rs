//! `plugin-call`: host → component → host, JSON in and out, one host import, against wasmtime alone.

use std::{fs, sync::Arc, time::Instant};

use bytes::Bytes;
use patchbay_core::{Actor, UserId};
use patchbay_runtime::{
    Grants, HttpRequest, PluginBody, Routed, Runtime, RuntimeConfig, limits, wasmtime_config,
};

use crate::{
    Outcome,
    bare::{Linked, Request},
    memory_host::MemoryHost,
    report::{Series, publish, root},
};

const ROUNDS: usize = 9;
const CALLS: usize = 2_000;
const PATH: &str = "/api/messages/7/reactions";
const ROUTE: &str = "/api/messages/{message_id}/reactions";
const BODY: &[u8] = r#"{"emoji":"👍"}"#.as_bytes();

pub fn run() -> Outcome {
    let file = root().join("target/plugins/reactions.wasm");
    let component = Bytes::from(fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?);
    // One thread: what is measured is one call after the other.
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(measure(component))
}

async fn measure(component: Bytes) -> Outcome {
    let cache = tempfile::tempdir()?;
    let (runtime, _) = Runtime::new(RuntimeConfig::new(cache.path()), Arc::new(MemoryHost))?;
    let grants = Grants {
        capabilities: ["reactions".to_owned()].into(),
        routes: vec![ROUTE.to_owned(), format!("{ROUTE}/{{emoji}}")],
        ..Grants::default()
    };
    let plugin = runtime.prepare(component.clone(), &grants).await?;
    runtime.activate(plugin)?;
    let engine = wasmtime::Engine::new(&wasmtime_config(limits::CONCURRENT_CALLS))?;
    let linked = Linked::new(&engine, &component)?;
    let mut reused = linked.instance().await?;

    let expected = linked.instance().await?.call(&bare_request()).await?;
    if expected.status != 201 || ours(&runtime).await? != expected.body {
        return Err("the two embeddings don't answer alike".into());
    }

    let mut series = [
        Series::new("Patchbay, fresh instance"),
        Series::new("wasmtime, InstancePre + call"),
        Series::new("wasmtime, one reused instance"),
    ];
    for _ in 0..ROUNDS {
        let [mut with_patchbay, mut with_fresh, mut with_reused] = [const { Vec::new() }; 3];
        for _ in 0..CALLS {
            let started = Instant::now();
            std::hint::black_box(ours(&runtime).await?);
            with_patchbay.push(started.elapsed());
        }
        for _ in 0..CALLS {
            let started = Instant::now();
            std::hint::black_box(linked.instance().await?.call(&bare_request()).await?);
            with_fresh.push(started.elapsed());
        }
        for _ in 0..CALLS {
            let started = Instant::now();
            std::hint::black_box(reused.call(&bare_request()).await?);
            with_reused.push(started.elapsed());
        }
        for (series, times) in series.iter_mut().zip([with_patchbay, with_fresh, with_reused]) {
            series.round(times);
        }
    }
    let [patchbay, fresh, reused] = &series;
    publish("plugin-call", &[patchbay, fresh, reused], &[(patchbay, fresh, 1.3), (patchbay, reused, 3.0)])?;
    Ok(())
}

fn bare_request() -> Request {
    Request {
        method: "POST".to_owned(),
        path: PATH.to_owned(),
        route: ROUTE.to_owned(),
        params: vec![("message_id".to_owned(), "7".to_owned())],
        query: Vec::new(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: BODY.to_vec(),
    }
}

/// What the server does for a request, from its path to the bytes of the answer.
async fn ours(runtime: &Runtime) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let Routed::Call(call) = runtime.route(&http::Method::POST, PATH) else {
        return Err("not routed".into());
    };
    let request = HttpRequest {
        method: http::Method::POST,
        path: PATH.to_owned(),
        query: Vec::new(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from_static(BODY),
    };
    let caller = Actor::user(UserId(1), false, false);
    match runtime.call_http(call, request, Some(caller)).await?.into_body() {
        PluginBody::Whole(body) => Ok(body.into()),
        PluginBody::Stream(_) => Err("a short answer was streamed".into()),
    }
}
