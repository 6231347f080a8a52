//! How a command reaches the operations: by the control socket of the server that holds the data directory, or, if
//! none does, by holding it and doing the work here. Both are the same requests to the same routes.
//!
//! Owns: finding out which, one request and its answer. Must not: know any command.

use std::{io::ErrorKind, path::PathBuf, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
};
use http::{Method, Request, Response, header};
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::{
    app::{App, StartError, lock_data_dir, make_data_dir},
    config::Config,
    control, http as doors,
};

/// How long to wait for a server that starts or stops, or for another command.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of an answer: a page of any list is far below.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The way to the operations.
pub enum Operator {
    /// Through a server's control socket.
    Socket(PathBuf),
    /// In this process, which holds the data directory.
    Here {
        /// All routes.
        router: Router,
        /// What they reach, to be closed in the end.
        app: Box<App>,
        /// Keeps a server out.
        lock: std::fs::File,
    },
}

impl Operator {
    /// Finds the way.
    ///
    /// # Errors
    /// If a server holds the data directory and can't be reached, or the database can't be opened.
    pub async fn find(config: Config) -> Result<Self, StartError> {
        make_data_dir(&config)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = match lock_data_dir(&config) {
                Ok(lock) => {
                    let app = Box::new(App::open(config).await?);
                    return Ok(Self::Here { router: doors::control_router(App::clone(&app)), app, lock });
                }
                Err(error) => error,
            };
            let path = control::path(&config);
            let unreachable = match reach(&path).await {
                Ok(()) => return Ok(Self::Socket(path)),
                Err(error) => error,
            };
            let hopeless = matches!(unreachable.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
            if hopeless || Instant::now() >= deadline {
                let path = path.display();
                return Err(format!("{held}, and it can't be reached by {path}: {unreachable}").into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits for a server of these settings, however long its start takes.
    pub async fn reach(config: &Config) -> Self {
        let path = control::path(config);
        while reach(&path).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        Self::Socket(path)
    }

    /// Sends a request; the answer's JSON, null if it has none.
    ///
    /// # Errors
    /// What the operation said, field by field.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, StartError> {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(request, Body::from(body)).await
    }

    /// Sends a component, with its signature file in base64.
    ///
    /// # Errors
    /// What the operation said.
    pub async fn put_component(
        &self,
        path: &str,
        component: Vec<u8>,
        signature: Option<&str>,
    ) -> Result<Value, StartError> {
        let mut request =
            Request::builder().method(Method::PUT).uri(path).header(header::CONTENT_TYPE, "application/wasm");
        if let Some(signature) = signature {
            request = request.header(doors::SIGNATURE, signature);
        }
        self.send(request, Body::from(component)).await
    }

    /// Starts the plugins, if no server runs that has done so: whether a new one's routes are free, for instance, is
    /// known only then.
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub async fn start_plugins(&self) -> Result<(), StartError> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Here { app, .. } => app.start_plugins().await,
        }
    }

    /// Indexes in this process, if no server runs that does.
    pub fn start_indexing(&self) {
        if let Self::Here { app, .. } = self {
            // It ends with the process; what it has done by then is done.
            tokio::spawn(app.ops.clone().keep_indexed());
        }
    }

    /// Runs the jobs of plugins in this process, if no server runs that does.
    pub fn start_working(&self) {
        if let Self::Here { app, .. } = self {
            // It ends with the process; a job that was interrupted comes again.
            tokio::spawn(app.plugins.clone().keep_working());
        }
    }

    async fn send(&self, request: http::request::Builder, body: Body) -> Result<Value, StartError> {
        let request =
            request.header(header::HOST, "localhost").body(body).map_err(|error| error.to_string())?;
        match self {
            Self::Socket(path) => read(send(path, request).await?).await,
            Self::Here { router, .. } => {
                let answer = router.clone().oneshot(request).await;
                read(answer.unwrap_or_else(|never| match never {})).await
            }
        }
    }

    /// Closes the database, if it was opened here.
    pub async fn close(self) {
        if let Self::Here { app, lock, .. } = self {
            app.ops.store().close().await;
            drop(lock);
        }
    }
}

async fn read(response: Response<Body>) -> Result<Value, StartError> {
    let status = response.status();
    let bytes = to_bytes(response.into_body(), MAX_ANSWER).await.map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() { Ok(value) } else { Err(reason(&value, status).into()) }
}

/// What a problem document says.
fn reason(problem: &Value, status: http::StatusCode) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let faults = problem.get("errors").and_then(Value::as_array).into_iter().flatten();
    let faults: Vec<_> = faults
        .filter_map(|fault| Some(format!("{} {}", text(fault, "field")?, text(fault, "message")?)))
        .collect();
    if faults.is_empty() {
        text(problem, "detail").unwrap_or_else(|| format!("the server answered {status}"))
    } else {
        faults.join("; ")
    }
}

#[cfg(unix)]
async fn reach(path: &std::path::Path) -> std::io::Result<()> {
    tokio::net::UnixStream::connect(path).await.map(drop)
}

#[cfg(unix)]
async fn send(path: &std::path::Path, request: Request<Body>) -> Result<Response<Body>, StartError> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let stream = tokio::net::UnixStream::connect(path).await.map_err(|error| failed(&error))?;
    let stream = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await.map_err(|error| failed(&error))?.map(Body::new))
}

#[cfg(not(unix))]
async fn reach(_path: &std::path::Path) -> std::io::Result<()> {
    let why = "this system has no control socket; stop the server first";
    Err(std::io::Error::new(ErrorKind::Unsupported, why))
}

#[cfg(not(unix))]
async fn send(_path: &std::path::Path, _request: Request<Body>) -> Result<Response<Body>, StartError> {
    Err("this system has no control socket; stop the server first".to_owned().into())
}
