//! One call of a plugin: permit, fresh instance, deadlines, and what became of it.
//!
//! Owns: the life of a call, and its traces in counters, health and the plugin's log. Must not: choose the plugin, or
//! decide what a failure means for it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use patchbay_core::Actor;
use tokio::sync::{mpsc, oneshot};
use wasmtime::{
    Store, Trap, UpdateDeadline, WasmBacktrace,
    component::{Instance, Resource, ResourceTableError},
};

use crate::{
    CallError, Host, HttpRequest, PluginBody, RoutedCall,
    bindings::wit::http_types,
    capabilities::log::LogLevel,
    cpu::metered,
    engine::{Engine, Running},
    limits::{Budget, Exceeded},
    load::Plugin,
    permits::Permit,
    response::{ChunkSender, Finished, Head, Response, Streaming},
    reuse::Used,
    state::{CallState, CpuBudget},
    stats::{CallKind, Ending},
    wall::Wall,
};

/// A version of a plugin that fails too much to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwell {
    /// The plugin.
    pub plugin: String,
    /// The version.
    pub digest: String,
    /// Its last failure.
    pub reason: String,
}

/// What calls share.
pub(crate) struct Context {
    pub(crate) engine: Engine,
    pub(crate) host: Arc<dyn Host>,
    /// To whom it is told that a version must not go on.
    pub(crate) unwell: mpsc::Sender<Unwell>,
}

/// A store with an instance of a plugin in it. Torn down before `_permit` is given back, so that there is
/// always a slot in the pool for a permit.
pub(crate) struct Call {
    pub(crate) store: Store<CallState>,
    pub(crate) instance: Instance,
    /// Calls that the instance has served, this one included.
    calls: u32,
    made: Instant,
    _running: Running,
    _permit: Option<Permit>,
}

impl Call {
    /// In an instance that has served calls before, if the operator wants that and one waits; else in a fresh one.
    pub(crate) async fn start(
        context: &Context,
        plugin: &Plugin,
        cpu: Duration,
        depth: u8,
        permit: Option<Permit>,
    ) -> wasmtime::Result<Self> {
        let Some(Used { mut store, instance, calls, made }) = plugin.reuse.take() else {
            return Self::fresh(context, plugin, cpu, depth, permit).await;
        };
        let running = context.engine.running();
        store.data_mut().renew(depth, &plugin.limits, CpuBudget::new(cpu));
        store.set_hostcall_fuel(plugin.limits.host_call_bytes);
        store.set_epoch_deadline(1);
        Ok(Self { store, instance, calls: calls.saturating_add(1), made, _running: running, _permit: permit })
    }

    pub(crate) async fn fresh(
        context: &Context,
        plugin: &Plugin,
        cpu: Duration,
        depth: u8,
        permit: Option<Permit>,
    ) -> wasmtime::Result<Self> {
        let running = context.engine.running();
        let (host, name) = (Arc::clone(&context.host), Arc::clone(&plugin.name));
        let state = CallState::new(host, name, depth, plugin, CpuBudget::new(cpu));
        let mut store = Store::new(context.engine.wasmtime(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(plugin.limits.host_call_bytes);
        store.set_max_component_handles(plugin.limits.handles);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().cpu.tick()?;
            // Others run meanwhile; and the timeout around the call is looked at.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        let instance = plugin.pre.instantiate_async(&mut store).await?;
        Ok(Self { store, instance, calls: 1, made: Instant::now(), _running: running, _permit: permit })
    }

    /// The end of a call and what the guest answered: what the log left out is said in it, and an instance that did not
    /// trap may serve another.
    pub(crate) fn end<T>(mut self, plugin: &Plugin, answered: wasmtime::Result<T>) -> wasmtime::Result<T> {
        let state = self.store.data();
        let dropped = state.log.dropped();
        if dropped > 0 {
            let line = format!("{dropped} more lines of this call were left out");
            state.host.write(&state.plugin, LogLevel::Warn, &line);
        }
        let answered = answered?;
        self.store.data_mut().take_back()?;
        let Self { store, instance, calls, made, .. } = self;
        plugin.reuse.give_back(Used { store, instance, calls, made });
        Ok(answered)
    }
}

type Outcome = Result<Option<(Head, Bytes)>, CallError>;
type Guest = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Calls a plugin's `http.handle`.
pub(crate) async fn http(
    context: Arc<Context>,
    routed: RoutedCall,
    request: HttpRequest,
    caller: Option<Actor>,
) -> Result<http::Response<PluginBody>, CallError> {
    let (shared, plugin) = (Arc::clone(&context), Arc::clone(&routed.plugin));
    measured(&shared, &plugin, CallKind::Http, answer(context, routed, request, caller)).await
}

async fn answer(
    context: Arc<Context>,
    routed: RoutedCall,
    request: HttpRequest,
    caller: Option<Actor>,
) -> Result<http::Response<PluginBody>, CallError> {
    let permit = routed.plugin.permits.acquire().await?;
    let (shared, plugin) = (Arc::clone(&context), Arc::clone(&routed.plugin));
    let wall = Wall::new(plugin.limits.http.wall, plugin.limits.llm_wait);
    let stream_wall = plugin.limits.stream_wall;
    let (tell, mut on_stream) = oneshot::channel();
    let work = metered(run_http(context, routed, request, caller, permit, tell));
    let mut guest: Guest = Box::pin(Arc::clone(&wall).around(work));
    tokio::select! {
        biased;
        outcome = &mut guest => match outcome? {
            Some((head, body)) => Ok(respond(head, PluginBody::Whole(body))),
            // It ended before anyone looked at the stream that it began; all of it is in the channel.
            None => match on_stream.try_recv() {
                Ok(Streaming { head, chunks, .. }) => Ok(respond(head, PluginBody::Stream(chunks))),
                Err(_) => Err(CallError::NoResponse),
            },
        },
        Ok(Streaming { head, chunks, sender }) = &mut on_stream => {
            tokio::spawn(async move {
                if let Err(error) = stream(guest, sender, stream_wall).await {
                    note(&shared, &plugin, CallKind::Http, Duration::ZERO, Some(&error));
                }
            });
            Ok(respond(head, PluginBody::Stream(chunks)))
        }
        () = wall.expired() => Err(CallError::TimedOut),
    }
}

/// Sees a streaming call through. Its reader learns of a failure as the last chunk.
async fn stream(guest: Guest, sender: ChunkSender, wall: Duration) -> Result<(), CallError> {
    let outcome = tokio::time::timeout(wall, guest).await.unwrap_or(Err(CallError::TimedOut));
    if let Err(error) = &outcome {
        // The reader may be gone, which may be the very error.
        let _ = sender.send_timeout(Err(error.clone()), Duration::from_secs(1)).await;
    }
    outcome.map(|_| ())
}

fn respond(head: Head, body: PluginBody) -> http::Response<PluginBody> {
    let mut response = http::Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

async fn run_http(
    context: Arc<Context>,
    routed: RoutedCall,
    request: HttpRequest,
    caller: Option<Actor>,
    permit: Permit,
    tell: oneshot::Sender<Streaming>,
) -> Outcome {
    let plugin = &routed.plugin;
    let Some(export) = &plugin.exports.http else {
        return Err(CallError::InvalidResponse("the plugin has no export http".to_owned()));
    };
    let mut call = Call::start(&context, plugin, plugin.limits.http.cpu, 1, Some(permit)).await?;
    let guest = export.load(&mut call.store, &call.instance)?;
    let state = call.store.data_mut();
    let caller = caller.map(|actor| state.lend_caller(actor)).transpose()?;
    let response = state.table.push(Response::new(&plugin.limits, tell)).map_err(wasmtime::Error::new)?;
    let request = http_types::Request {
        method: request.method.to_string(),
        path: request.path,
        route: routed.route,
        params: routed.params,
        query: request.query,
        headers: request.headers,
        body: request.body.into(),
    };
    let lent = Resource::new_borrow(response.rep());
    let answered = guest.patchbay_plugin_http().call_handle(&mut call.store, &request, caller, lent).await;
    let response = call.store.data_mut().table.delete(response).map_err(wasmtime::Error::new);
    // Until the client has it all, the call has its permit.
    let finished = match &answered {
        Ok(Ok(())) => response?.finish().await,
        _ => Err(CallError::NoResponse),
    };
    call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))?;
    match finished? {
        Finished::Whole(head, body) => Ok(Some((head, body))),
        Finished::Streamed => Ok(None),
    }
}

/// Runs a call and leaves its traces.
pub(crate) async fn measured<T>(
    context: &Context,
    plugin: &Plugin,
    kind: CallKind,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    if plugin.is_quarantined() {
        return Err(CallError::Quarantined);
    }
    let began = Instant::now();
    let result = work.await;
    note(context, plugin, kind, began.elapsed(), result.as_ref().err());
    result
}

/// Counts a call, writes its failure into the plugin's log, and says so when there were too many.
fn note(context: &Context, plugin: &Plugin, kind: CallKind, took: Duration, error: Option<&CallError>) {
    let ending = match error {
        Some(CallError::Busy { .. } | CallError::ClientGone(_)) => Ending::Unserved,
        Some(error) if error.is_failure() => {
            Ending::Failed { trapped: !matches!(error, CallError::Refused(_)) }
        }
        _ => Ending::Well,
    };
    plugin.stats.ended(kind, took, ending);
    if ending == Ending::Unserved {
        return;
    }
    let failure = error.filter(|error| error.is_failure());
    // What may be the host's doing (a wait that took too long, an error that is passed on) condemns nobody.
    let is_its_own = failure.is_some_and(|e| !matches!(e, CallError::TimedOut | CallError::Refused(_)));
    let condemned = plugin.health().ended(is_its_own, Instant::now());
    let Some(error) = failure else { return };
    let line = format!("{} failed: {}: {error}", kind.as_str(), error.code());
    context.host.write(plugin.name(), LogLevel::Error, &line);
    if condemned {
        let unwell = Unwell { plugin: plugin.name().to_owned(), digest: plugin.digest.clone(), reason: line };
        if context.unwell.try_send(unwell).is_err() {
            // Whoever listens is busy: the next failure tells again.
            plugin.health().retract();
        }
    }
}

/// Runs `work` for at most `budget.wall`, and no longer than `models` beyond that while it waits for models.
pub(crate) async fn within<T>(
    budget: Budget,
    models: Duration,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let wall = Wall::new(budget.wall, models);
    // What a call is, is large; here it is moved for the last time.
    let mut work = Box::pin(Arc::clone(&wall).around(metered(work)));
    tokio::select! {
        biased;
        outcome = &mut work => outcome,
        () = wall.expired() => Err(CallError::TimedOut),
    }
}

impl From<Exceeded> for CallError {
    fn from(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Cpu => Self::CpuExceeded,
            Exceeded::Memory => Self::MemoryExceeded,
            Exceeded::HostData | Exceeded::HostCalls | Exceeded::Response => {
                Self::LimitExceeded(exceeded.to_string())
            }
            Exceeded::Stalled => Self::ClientGone("the client does not take the answer"),
            Exceeded::ClientGone => Self::ClientGone("the client is gone"),
        }
    }
}

impl From<wasmtime::Error> for CallError {
    fn from(error: wasmtime::Error) -> Self {
        if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
            return (*exceeded).into();
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Busy { retry_after: Duration::from_secs(1) };
        }
        let message = match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => return Self::CpuExceeded,
            Some(trap) => trap.to_string(),
            None => error.root_cause().to_string(),
        };
        if let Some(limit) = limit_reached(&error) {
            return Self::LimitExceeded(limit);
        }
        let frames = error.downcast_ref::<WasmBacktrace>().map_or_else(Vec::new, frame_names);
        Self::Trapped { message, frames }
    }
}

/// The limit that a guest reached, if that is what ended it.
pub(crate) fn limit_reached(error: &wasmtime::Error) -> Option<String> {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return Some(exceeded.to_string());
    }
    let handles = || "the call holds more handles than it may".to_owned();
    if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return Some(handles());
    }
    // Wasmtime has no types for these.
    let message = error.root_cause().to_string();
    if message.contains("fuel allocated for hostcalls") {
        return Some("a host function was handed more data than it may be".to_owned());
    }
    message.contains("handle limit exceeded").then(handles)
}

/// The innermost functions of a guest, by name.
fn frame_names(backtrace: &WasmBacktrace) -> Vec<String> {
    const SHOWN: usize = 12;
    const SHOWN_CHARS: usize = 120;
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)).chars().take(SHOWN_CHARS).collect(),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().take(SHOWN).map(name).collect()
}
