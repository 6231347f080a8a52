//! `presence.*`

use std::time::Duration;

use super::declare;

declare! {
    /// Who is here.
    "presence" => Presence {
        /// For how long a user whose last socket has closed still counts as here.
        grace: Duration = "30s",
    }
}
