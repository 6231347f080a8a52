//! What the server counts, in the text format that Prometheus reads.
//!
//! Owns: names and labels. Must not: be asked for anything but numbers. Labels are bounded: methods and statuses by
//! class, routes by their templates, and whatever matches none shares one. On the way of a request there are two
//! atomic counts behind a read lock; what can be looked up is looked up when somebody asks.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use patchbay_voice::Stats;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    app::App,
    ops::{IndexState, plugins::Observed},
};

/// The format of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds: from what a cached read takes to what a client gives up on.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// What is counted as it happens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    seconds: Family<Timed, Histogram, fn() -> Histogram>,
    under_way: Gauge,
    registry: Arc<Registry>,
}

/// A request that has not been answered.
#[derive(Debug)]
pub struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let requests = Family::default();
        let seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let (under_way, build) = (Gauge::default(), Family::<Build, Gauge>::default());
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        let mut registry = Registry::with_prefix("patchbay");
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_duration_seconds", "Time to the head of the answer", seconds.clone());
        registry.register("http_requests_under_way", "Requests not answered yet", under_way.clone());
        registry.register("build_info", "The version that runs", build);
        Self { requests, seconds, under_way, registry: Arc::new(registry) }
    }

    /// A request begins; it ends when the value is dropped, whatever becomes of it.
    pub fn begin(&self) -> UnderWay {
        self.under_way.inc();
        UnderWay(self.under_way.clone())
    }

    /// A request has been answered.
    pub fn request(&self, method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        };
        let status = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Request { method, route: route.to_owned(), status }).inc();
        self.seconds.get_or_create(&Timed { method, route: route.to_owned() }).observe(elapsed.as_secs_f64());
    }

    /// Everything, with what is looked up now.
    pub async fn render(&self, app: &App) -> String {
        let mut now = Registry::default();
        looked_up(&mut now, app);
        // While the database is away the rest is worth all the more.
        match app.plugins.observe().await {
            Ok(plugins) => plugins_seen(&mut now, &plugins),
            Err(error) => tracing::warn!(%error, "the metrics of plugins are left out"),
        }
        rooms(&mut now, &app.ops.voice_stats().await);
        match app.ops.index_state().await {
            Ok(state) => indexes_seen(&mut now, &state),
            Err(error) => tracing::warn!(%error, "the metrics of the search index are left out"),
        }
        process(&mut now);
        let mut text = String::new();
        // Writing to a string fails only if a value's own encoding does.
        if let Err(error) =
            encode_registry(&mut text, &self.registry).and_then(|()| encode_registry(&mut text, &now))
        {
            tracing::warn!(%error, "a metric could not be written");
        }
        with_suffixes(&text)
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: impl TryInto<i64>) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value.try_into().unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn looked_up(registry: &mut Registry, app: &App) {
    let registry = registry.sub_registry_with_prefix("patchbay");
    let writer = app.ops.store().writer_load();
    gauge(registry, "connections", "Connections open, sockets among them", app.connections.open());
    gauge(registry, "sockets", "Sockets open", app.sockets.len());
    gauge(registry, "journal_head", "The newest seq of the journal", *app.ops.store().head().borrow());
    gauge(registry, "writer_queue", "Operations that wait for the writer", writer.waiting);
    counter(registry, "writer_batches", "Transactions of the writer", writer.batches);
    counter(registry, "writer_operations", "Operations in those transactions", writer.operations);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfIndex {
    index: &'static str,
}

fn indexes_seen(registry: &mut Registry, state: &IndexState) {
    let registry = registry.sub_registry_with_prefix("patchbay_search");
    let behind = Family::<OfIndex, Gauge>::default();
    for (index, progress) in &state.indexes {
        let left = if progress.is_complete() { 0 } else { (progress.until - progress.at).max(1) };
        behind.get_or_create(&OfIndex { index: index.as_str() }).set(left);
    }
    registry.register("index_behind", "Ids that are still to be indexed", behind);
    gauge(registry, "files_waiting", "Files whose text is still to be read", state.files_waiting);
    gauge(registry, "files_failed", "Files whose text could not be read", state.files_failed);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlugin {
    plugin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCalls {
    plugin: String,
    export: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDurations {
    plugin: String,
    export: &'static str,
    quantile: &'static str,
}

fn plugins_seen(registry: &mut Registry, plugins: &[Observed]) {
    use std::sync::atomic::AtomicU64;

    let registry = registry.sub_registry_with_prefix("patchbay_plugin");
    let calls = Family::<OfCalls, Counter>::default();
    let seconds = Family::<OfDurations, Gauge<f64, AtomicU64>>::default();
    let cpu = Family::<OfPlugin, Counter<f64, AtomicU64>>::default();
    let gauges = || Family::<OfPlugin, Gauge>::default();
    let (running, waiting, peak) = (gauges(), gauges(), gauges());
    let (lag, letters, serves, tokens) = (gauges(), gauges(), gauges(), gauges());
    let traps = Family::<OfPlugin, Counter>::default();
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    for observed in plugins {
        let Observed { plugin, counted, waiting: queued, serves: is_serving, .. } = observed;
        let of = OfPlugin { plugin: plugin.clone() };
        for kind in &counted.kinds {
            let export = kind.kind.as_str();
            let ok = kind.calls.saturating_sub(kind.failures);
            for (outcome, count) in [("ok", ok), ("failed", kind.failures), ("unserved", kind.unserved)] {
                calls.get_or_create(&OfCalls { plugin: plugin.clone(), export, outcome }).inc_by(count);
            }
            for (quantile, value) in [("0.5", kind.p50), ("0.99", kind.p99)] {
                let of = OfDurations { plugin: plugin.clone(), export, quantile };
                seconds.get_or_create(&of).set(value.as_secs_f64());
            }
        }
        cpu.get_or_create(&of).inc_by(counted.cpu.as_secs_f64());
        traps.get_or_create(&of).inc_by(counted.traps);
        running.get_or_create(&of).set(i64::from(counted.running));
        waiting.get_or_create(&of).set(i64::from(*queued));
        peak.get_or_create(&of).set(number(counted.peak_memory));
        serves.get_or_create(&of).set(i64::from(*is_serving));
        letters.get_or_create(&of).set(observed.dead_letters);
        tokens.get_or_create(&of).set(observed.llm_tokens_today);
        if let Some(behind) = &observed.lag {
            lag.get_or_create(&of).set(*behind);
        }
    }
    registry.register("calls", "Calls of plugins", calls);
    registry.register("call_seconds", "How long calls take, since the start, within 42 %", seconds);
    registry.register("cpu_seconds", "Time spent in plugins", cpu);
    registry.register("traps", "Calls that ended by a trap or a limit", traps);
    registry.register("running", "Calls that run now", running);
    registry.register("waiting", "Calls that wait for their turn", waiting);
    registry.register("peak_memory_bytes", "Most memory that a call had", peak);
    registry.register("serves", "1 if it is called, 0 in quarantine", serves);
    registry.register("cursor_lag", "Entries of the journal after its cursor", lag);
    registry.register("llm_tokens_today", "Tokens of language models used today (UTC)", tokens);
    registry.register("dead_letters", "What it could not handle", letters);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoom {
    channel: i64,
}

/// A series for each voice channel that is in use: as many as `voice.rooms` allows.
fn rooms(registry: &mut Registry, rooms: &[Stats]) {
    let registry = registry.sub_registry_with_prefix("patchbay_voice");
    gauge(registry, "rooms", "Voice channels in use", rooms.len());
    let gauges = || Family::<OfRoom, Gauge>::default();
    let (people, connected, speaking) = (gauges(), gauges(), gauges());
    let counters = || Family::<OfRoom, Counter>::default();
    let (received, forwarded, lost) = (counters(), counters(), counters());
    let jitter = Family::<OfRoom, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    for room in rooms {
        let of = OfRoom { channel: room.room };
        people.get_or_create(&of).set(number(room.participants));
        connected.get_or_create(&of).set(number(room.connected));
        speaking.get_or_create(&of).set(number(room.speaking));
        received.get_or_create(&of).inc_by(room.received);
        forwarded.get_or_create(&of).inc_by(room.forwarded);
        lost.get_or_create(&of).inc_by(room.lost);
        jitter.get_or_create(&of).set(room.jitter / 1e3);
    }
    registry.register("participants", "People in a voice channel", people);
    registry.register("connected", "People whose sound flows", connected);
    registry.register("speaking", "People who speak now", speaking);
    registry.register("packets_received", "Packets from microphones, since the room opened", received);
    registry.register(
        "packets_lost",
        "Packets from microphones that never came, since the room opened",
        lost,
    );
    registry.register("jitter_seconds", "The worst jitter of a microphone", jitter);
    registry.register("packets_forwarded", "Packets to listeners, since the room opened", forwarded);
}

/// The names that every process has for Prometheus. Where there is no /proc they are left out.
#[cfg(not(target_os = "linux"))]
fn process(_: &mut Registry) {}

#[cfg(target_os = "linux")]
fn process(registry: &mut Registry) {
    use std::{
        sync::atomic::AtomicU64,
        time::{SystemTime, UNIX_EPOCH},
    };

    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The program's name may hold anything, so fields count from behind it (proc_pid_stat(5), the third first).
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let ticks = |count: u64| count as f64 / rustix::param::clock_ticks_per_second() as f64;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    gauge(registry, "process_resident_memory_bytes", "Memory in use", field(24) * page);
    gauge(registry, "process_virtual_memory_bytes", "Memory addressed", field(23));
    gauge(registry, "process_threads", "Threads", field(20));
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(ticks(field(14) + field(15)));
    registry.register("process_cpu_seconds", "Processor time used", cpu);
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge(registry, "process_open_fds", "File descriptors open", open.count());
    }
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    gauge(registry, "process_max_fds", "File descriptors that may be open", most.unwrap_or(u64::MAX));
    let started = Gauge::<f64, AtomicU64>::default();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    started.set(now - uptime + ticks(field(22)));
    registry.register("process_start_time_seconds", "When the process started", started);
}

/// The library writes OpenMetrics, where a counter's `_total` is not part of its name. In the older text format, which
/// every collector reads, it is.
fn with_suffixes(text: &str) -> String {
    let mut counters = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            counters.push(name);
        }
    }
    let mut out = String::with_capacity(text.len() + 32 * counters.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                out.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_the_text_format_wants() {
        let metrics = Metrics::new();
        metrics.request(&Method::GET, "/api/users/{id}", StatusCode::OK, Duration::from_millis(3));
        metrics.request(
            &Method::from_bytes(b"BREW").unwrap(),
            "unmatched",
            StatusCode::NOT_FOUND,
            Duration::ZERO,
        );
        let mut text = String::new();
        encode_registry(&mut text, &metrics.registry).unwrap();
        let text = with_suffixes(&text);
        for expected in [
            "# TYPE patchbay_http_requests_total counter\n",
            "# HELP patchbay_http_requests_total Requests answered.\n",
            "patchbay_http_requests_total{method=\"GET\",route=\"/api/users/{id}\",status=\"2xx\"} 1\n",
            "patchbay_http_requests_total{method=\"other\",route=\"unmatched\",status=\"4xx\"} 1\n",
            "# TYPE patchbay_http_request_duration_seconds histogram\n",
            "patchbay_http_request_duration_seconds_bucket{le=\"0.005\",method=\"GET\",route=\"/api/users/{id}\"} 1\n",
        ] {
            assert!(text.contains(expected), "{expected} is missing:\n{text}");
        }
    }
}
