//! Takes connections and serves each until it ends or the server does.
//!
//! Owns: how many connections there are, and their orderly end. Must not: know routes. Beyond `limits.connections` (and
//! `limits.connections_per_address`, unless the peer is a trusted proxy) a connection is answered 503 at once, so that
//! a client hears of it and nothing waits.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{
    Failure,
    body::{Exchange, Incoming, Outgoing, Progress},
    edge,
    head::{Between, MAX_HEAD, MAX_HEADERS, Times, Watched},
};
use crate::config::Config;

/// How long to wait when the system has nothing left for a further connection.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a refused client may take to read why.
const FAREWELL: Duration = Duration::from_secs(2);
/// Refused connections that are being told why; beyond that they are closed without a word.
const MAX_FAREWELLS: usize = 256;

/// The connections that there are.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    most: usize,
    places: Arc<Semaphore>,
    farewells: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, u32>>,
}

/// A connection's place. Given back when it ends.
#[derive(Debug)]
pub(super) struct Place {
    connections: Connections,
    address: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut by_address = self.connections.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

impl Connections {
    /// None yet.
    pub fn new(config: &Config) -> Self {
        let most = usize::try_from(config.limits.connections.0.get()).unwrap_or(usize::MAX);
        Self(Arc::new(Counted {
            most,
            places: Arc::new(Semaphore::new(most)),
            farewells: Arc::new(Semaphore::new(MAX_FAREWELLS)),
            by_address: Mutex::default(),
        }))
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.0.most.saturating_sub(self.0.places.available_permits())
    }

    fn take(&self, peer: IpAddr, config: &Config) -> Option<Place> {
        let permit = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        let is_counted = config.limits.limits_rates() && !config.server.trusted_proxies.contains(peer);
        let address = is_counted.then(|| network(peer));
        if let Some(address) = address {
            let mut by_address = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_address.entry(address).or_insert(0);
            if *count >= config.limits.connections_per_address.0.get() {
                return None;
            }
            *count += 1;
        }
        Some(Place { connections: self.clone(), address, _permit: permit })
    }
}

/// What a peer counts as: itself, or its /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// Serves until told to stop, then until every request under way has been answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: Arc<Config>,
    connections: Connections,
    mut stop: watch::Receiver<bool>,
) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match connections.take(peer.ip().to_canonical(), &config) {
            Some(place) => {
                let place = Arc::new(place);
                tasks.spawn(connection(
                    stream,
                    place,
                    peer,
                    router.clone(),
                    Arc::clone(&config),
                    stop.clone(),
                ));
            }
            None => {
                if let Ok(permit) = Arc::clone(&connections.0.farewells).try_acquire_owned() {
                    tasks.spawn(async move {
                        let detail = "there are too many connections";
                        let failure =
                            Failure::new(http::StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
                        say(stream, failure.with_retry_after(5)).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn told(stop: &mut watch::Receiver<bool>) {
    // If nobody is left who could say so, the server ends too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Errors of one connection that was about to be made, and of nothing else.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    place: Arc<Place>,
    peer: SocketAddr,
    router: Router,
    config: Arc<Config>,
    mut stop: watch::Receiver<bool>,
) {
    // Answers and events are written whole; waiting for more to send with them only delays them.
    let _ = stream.set_nodelay(true);
    let between = Arc::<Between>::default();
    let limits = &config.limits;
    let times = Times { head: limits.header_time, idle: limits.idle_time };
    let watched = Watched::new(stream, Arc::clone(&place), Arc::clone(&between), times);
    let patience = limits.body_time;
    let exchanges = Arc::clone(&between);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        answer(router.clone(), request, peer, Exchange::new(Arc::clone(&exchanges)), patience)
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // For heads that came before they were awaited. It counts from the end of the last request.
        .header_read_timeout(limits.idle_time.saturating_add(limits.header_time))
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(watched), service)
        .with_upgrades();
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = told(&mut stop) => {
            // Nobody waits for the answer to a request that has not been made.
            if between.is_waiting() {
                return;
            }
            std::pin::Pin::new(&mut serving).graceful_shutdown();
            (&mut serving).await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended");
    }
    let fault = serving.into_parts().and_then(|parts| parts.io.into_inner().into_fault());
    if let Some((fault, stream)) = fault {
        say(stream, fault.failure()).await;
    }
}

async fn answer(
    router: Router,
    request: hyper::Request<hyper::body::Incoming>,
    peer: SocketAddr,
    exchange: Arc<Exchange>,
    patience: Duration,
) -> Result<http::Response<Outgoing>, Infallible> {
    let progress = Progress::new();
    let mut request = request.map(|body| {
        axum::body::Body::new(Incoming::new(body, Arc::clone(&exchange), Arc::clone(&progress), patience))
    });
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(progress);
    let response = router.oneshot(request).await?;
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        exchange.upgraded();
    }
    Ok(response.map(|inner| Outgoing { inner, _exchange: exchange }))
}

/// Tells a client why it is not served, and closes.
async fn say(mut stream: TcpStream, failure: Failure) {
    let answer = edge::bare_answer(failure);
    let farewell = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        // A connection that is closed while bytes wait to be read is reset, and the answer with it.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let mut farewell = pin!(farewell);
    let _ = tokio::time::timeout(FAREWELL, &mut farewell).await;
}
