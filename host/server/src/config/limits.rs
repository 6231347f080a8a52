//! `limits.*`

use super::{declare, value::Switch};

declare! {
    /// Rates.
    "limits" => Limits {
        /// Whether the rate of frames is limited; off is for load tests.
        rate: Switch = "on",
    }
}

impl Limits {
    /// Whether rates are limited.
    pub fn limits_rates(&self) -> bool {
        self.rate == Switch::On
    }
}
