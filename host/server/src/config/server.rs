//! `server.*`

use std::{net::SocketAddr, path::PathBuf};

use super::declare;

declare! {
    /// Where the server listens and keeps its data.
    "server" => Server {
        /// Address and port to listen on; port 0 takes a free one.
        listen: SocketAddr = "127.0.0.1:8080",
        /// Directory for the database, files and caches; created if it isn't there.
        data_dir: PathBuf = "patchbay-data",
    }
}
