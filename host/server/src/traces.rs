//! The log, and the traces of requests for an OpenTelemetry collector.
//!
//! Owns: the one subscriber of the process. Must not: cost anything when no collector is configured: then spans carry
//! only what the log shows, and nothing is linked to a request that the log doesn't want.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode};
use opentelemetry::{
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider as _},
};
use opentelemetry_http::{
    Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response, hyper::HyperClient,
};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Span, field::Empty, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat, Trace};

/// How long the collector may take to answer.
const COLLECTOR: Duration = Duration::from_secs(10);

/// Whether spans are sent anywhere.
static ON: AtomicBool = AtomicBool::new(false);
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Starts the log and, if there is a collector, the traces. Has to be called on the runtime that sends them.
///
/// # Errors
/// If the exporter can't be made.
pub fn start(log: &Log, trace: &Trace) -> Result<(), String> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().with_span_list(false).boxed(),
    };
    // It writes down what it could not read of a provider's answer, which may be what people wrote.
    let quiet = "async_openai=off".parse().map_err(|error| format!("the log's filter: {error}"))?;
    let lines = lines.with_filter(EnvFilter::new(&log.filter).add_directive(quiet));
    let traces = match &trace.otlp_endpoint {
        Some(endpoint) => {
            let provider = provider(&format!("{}/v1/traces", endpoint.0))?;
            let tracer = provider.tracer("patchbay");
            let _ = PROVIDER.set(provider);
            ON.store(true, Ordering::Relaxed);
            // Our own spans only: those of the libraries, the exporter's among them, are none of a request's.
            let ours = Targets::new().with_target("patchbay", LevelFilter::DEBUG);
            let layer = tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false);
            Some(layer.with_filter(ours))
        }
        None => None,
    };
    tracing_subscriber::registry().with(traces).with(lines).init();
    Ok(())
}

/// Sends what has not been sent. Waits for the collector: not to be called on a thread of the runtime.
pub fn stop() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(COLLECTOR)
    {
        tracing::warn!(%error, "the last traces could not be sent");
    }
}

fn provider(endpoint: &str) -> Result<SdkTracerProvider, String> {
    let client = OnRuntime {
        runtime: tokio::runtime::Handle::current(),
        client: HyperClient::with_default_connector(COLLECTOR, None),
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint)
        .with_timeout(COLLECTOR)
        .build()
        .map_err(|error| error.to_string())?;
    let service = Resource::builder_empty()
        .with_service_name("patchbay")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    // In batches from a thread of its own; when its queue of 2,048 spans is full, further ones are dropped.
    Ok(SdkTracerProvider::builder().with_resource(service).with_batch_exporter(exporter).build())
}

/// The client runs on the runtime; the exporter's thread only waits for it.
#[derive(Debug)]
struct OnRuntime {
    runtime: tokio::runtime::Handle,
    client: HyperClient,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

/// The span of a request: its id, its method, and who asks once that is known.
pub fn request_span(id: &str, method: &Method, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "request",
        %id,
        %method,
        user = Empty,
        otel.kind = Empty,
        otel.status_code = Empty,
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
    );
    if ON.load(Ordering::Relaxed) {
        span.record("otel.kind", "server");
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Fails only where nobody listens to the span.
        let _ = span.set_parent(parent);
    }
    span
}

/// Adds to the span of a request how it went.
pub fn request_ended(span: &Span, method: &Method, route: &str, status: StatusCode) {
    if !ON.load(Ordering::Relaxed) {
        return;
    }
    // The name of a span that has begun can be changed at its origin alone.
    span.context().span().update_name(format!("{method} {route}"));
    span.record("http.request.method", method.as_str());
    span.record("http.route", route);
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
