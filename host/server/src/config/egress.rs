//! `egress.*`

use super::{Networks, declare};

declare! {
    /// Requests that plugins send to other servers.
    "egress" => Egress {
        /// Addresses and networks that plugins' requests may reach although they are not of the public internet, e.g. 127.0.0.1/32.
        allow_private: Networks = "",
    }
}
