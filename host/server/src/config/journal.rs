//! `journal.*`

use std::time::Duration;

use super::declare;

declare! {
    /// How long clients can resume.
    "journal" => Journal {
        /// For how long events are kept.
        retention: Duration = "24h",
        /// How many events are kept at most.
        max_events: i64 = "1000000",
    }
}
