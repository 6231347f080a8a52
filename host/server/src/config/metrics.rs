//! `metrics.*`

use std::net::SocketAddr;

use super::declare;

declare! {
    /// What the server counts, for Prometheus.
    "metrics" => Metrics {
        /// Address and port that serve /metrics alone; empty: it is served where everything else is.
        listen: Option<SocketAddr> = "",
    }
}
