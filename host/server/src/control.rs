//! The control socket: where the command line reaches a server that runs, with the authority of the operator at the
//! machine. Whoever can open it could open the database as well.
//!
//! Owns: the socket in the data directory. Must not: decide what may be done by it.

use std::path::{Path, PathBuf};

use crate::{app::App, config::Config};

/// Where the socket is.
pub fn path(config: &Config) -> PathBuf {
    config.server.data_dir.join("control.sock")
}

/// The open socket; it goes when this is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    #[cfg(unix)]
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        #[cfg(unix)]
        self.serving.abort();
        remove(&self.path);
    }
}

impl Control {
    /// Opens the socket. The caller holds the data directory, so a file of that name is what a server left that
    /// was killed. A server without a control socket is still a server: what is wrong is logged.
    pub fn start(app: &App) -> Option<Self> {
        let path = path(&app.config);
        remove(&path);
        match serve(app.clone(), &path) {
            Ok(serving) => Some(Self {
                path,
                #[cfg(unix)]
                serving,
            }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "there is no control socket: commands like `patchbay user` need the server to be stopped");
                None
            }
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the control socket was not removed");
    }
}

#[cfg(not(unix))]
fn serve(_app: App, _path: &Path) -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "this system has no Unix domain sockets"))
}

#[cfg(unix)]
fn serve(app: App, path: &Path) -> std::io::Result<tokio::task::JoinHandle<()>> {
    use std::os::unix::fs::PermissionsExt;
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let listener = Own { listener, uid: rustix::process::geteuid().as_raw() };
    let router = crate::http::control_router(app);
    Ok(tokio::spawn(async move {
        // It only ends with the task.
        let _ = axum::serve(listener, router).await;
    }))
}

/// Connections of the server's own user and of root. The mode of the file says the same, but not yet in the moment
/// in which it is made.
#[cfg(unix)]
struct Own {
    listener: tokio::net::UnixListener,
    uid: u32,
}

#[cfg(unix)]
impl axum::serve::Listener for Own {
    type Io = tokio::net::UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let uid = stream.peer_cred().map(|peer| peer.uid());
                    if uid.is_ok_and(|uid| uid == 0 || uid == self.uid) {
                        return (stream, ());
                    }
                }
                // No more files can be opened, most likely.
                Err(error) => {
                    tracing::warn!(%error, "the control socket can't accept a connection");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(())
    }
}
