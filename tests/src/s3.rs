//! An S3-compatible server for tests: it keeps objects in a directory, checks signatures, and can be away.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use hyper_util::rt::TokioIo;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    s3_error,
    service::S3ServiceBuilder,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    task::{JoinHandle, JoinSet},
};

/// What the server's only bucket is called.
const BUCKET: &str = "chat";

/// A server with one bucket. It ends with this value.
pub struct S3 {
    root: TempDir,
    port: u16,
    /// Its own: whoever waits for the server in a test must not keep it from answering.
    runtime: Option<Runtime>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl S3 {
    /// Starts a server at a free port.
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let mut server = Self { root, port: 0, runtime: Some(runtime.unwrap()), serving: Mutex::default() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        server.port = listener.local_addr().unwrap().port();
        drop(listener);
        server.start_again();
        server
    }

    /// Settings for a server that keeps its files here, under `prefix/`.
    pub fn settings(&self) -> Vec<String> {
        vec![
            format!("files.url=s3://{BUCKET}/prefix"),
            format!("files.endpoint=http://127.0.0.1:{}", self.port),
            "files.access_key=tester".to_owned(),
            "files.secret_key=not a secret".to_owned(),
        ]
    }

    /// Hangs up on everybody and listens no more. What it has is kept.
    pub fn stop(&self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.abort();
            while !serving.is_finished() {
                std::thread::yield_now();
            }
        }
    }

    /// Listens again, at the same port.
    pub fn start_again(&self) {
        let runtime = self.runtime.as_ref().unwrap();
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(([127, 0, 0, 1], self.port).into()).unwrap();
            socket.listen(64).unwrap()
        };
        *self.serving.lock().unwrap() = Some(runtime.spawn(serve(listener, self.root.path().to_owned())));
    }

    /// The files that hold objects of the bucket.
    pub fn objects(&self) -> Vec<PathBuf> {
        files_below(&self.root.path().join(BUCKET))
    }

    /// What is kept of uploads that have not ended.
    pub fn unfinished(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_rest = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".upload");
        entries.filter(is_rest).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The files in a directory and in those below it.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// Lets those in who have signed, and says of all buckets but one that they aren't there: the server itself would
/// make them.
struct OneBucket;

#[async_trait::async_trait]
impl S3Access for OneBucket {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied));
        }
        match request.s3_path().get_bucket_name() {
            Some(BUCKET) => Ok(()),
            _ => Err(s3_error!(NoSuchBucket)),
        }
    }
}

async fn serve(listener: TcpListener, root: PathBuf) {
    let service = {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single("tester", "not a secret"));
        builder.set_access(OneBucket);
        builder.build()
    };
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service.clone());
        connections.spawn(connection);
        while connections.try_join_next().is_some() {}
    }
}
