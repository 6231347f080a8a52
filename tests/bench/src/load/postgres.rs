//! A PostgreSQL server in a temporary directory, durable as installed: `fsync` and `synchronous_commit` are on.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::Result;

const SETTINGS: &str = "
    max_connections = 100
    unix_socket_directories = ''
    listen_addresses = '127.0.0.1'
    shared_buffers = 256MB
";

/// A running server.
pub struct Postgres {
    server: Child,
    port: u16,
    _directory: TempDir,
}

/// The directory of the programs: the newest of Debian's, or whatever `PATH` knows.
fn programs() -> Option<PathBuf> {
    let mut debian: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.into_iter().rev().chain(std::env::split_paths(&path)).find(|at| at.join("initdb").is_file())
}

/// PostgreSQL refuses to run as root: then as the user whom its package has made.
fn as_nobody_special(program: &Path, root: bool) -> Command {
    let mut command = Command::new(if root { Path::new("setpriv") } else { program });
    if root {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn finish(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

impl Postgres {
    /// Starts one; none where it isn't installed, which is said aloud.
    pub fn start() -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            eprintln!("SKIPPED: PostgreSQL is not installed, so nothing is measured on it");
            return Ok(None);
        };
        let root = rustix::process::getuid().is_root();
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data");
        if root {
            finish(Command::new("chown").arg("postgres:postgres").arg(directory.path()))?;
        }
        let mut initdb = as_nobody_special(&programs.join("initdb"), root);
        initdb.args(["--auth=trust", "--username=patchbay", "--encoding=UTF8", "--pgdata"]).arg(&data);
        finish(&mut initdb)?;
        std::fs::write(data.join("postgresql.auto.conf"), SETTINGS)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = as_nobody_special(&programs.join("postgres"), root);
        let server = server.arg("-D").arg(&data).args(["-p", &port.to_string()]).spawn()?;
        Ok(Some(Self { server, port, _directory: directory }))
    }

    /// The URL of a new database.
    pub async fn database(&self, name: &'static str) -> Result<String> {
        use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions};
        let url = |name: &str| format!("postgres://patchbay@127.0.0.1:{}/{name}", self.port);
        let options: PgConnectOptions = url("postgres").parse()?;
        let mut attempts = 0;
        let mut connection = loop {
            match options.connect().await {
                Ok(connection) => break connection,
                Err(_) if attempts < 100 => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => return Err(error.into()),
            }
            attempts += 1;
        };
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
        connection.close().await?;
        Ok(url(name))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, and with its children; what it wrote goes with the directory.
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.server.wait();
    }
}
