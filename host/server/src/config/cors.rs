//! `cors.*`

use super::declare;

declare! {
    /// Which web pages may call the API.
    "cors" => Cors {
        /// Origins that may; a port of * means any.
        origins: Vec<String> = "http://localhost:*",
    }
}

impl Cors {
    /// Whether a page of that origin may call.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed.strip_suffix(":*") {
            Some(host) => {
                origin == host
                    || origin
                        .strip_prefix(host)
                        .and_then(|rest| rest.strip_prefix(':'))
                        .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
            }
            None => origin == allowed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_port_means_a_port() {
        let cors = Cors { origins: vec!["http://localhost:*".into(), "https://chat.example.org".into()] };
        for allowed in ["http://localhost:5173", "http://localhost", "https://chat.example.org"] {
            assert!(cors.allows(allowed), "{allowed}");
        }
        for refused in [
            "https://localhost:5173",
            "http://localhost.evil.example",
            "http://localhost:80.evil.example",
            "http://localhost:",
            "https://chat.example.org:444",
            "null",
        ] {
            assert!(!cors.allows(refused), "{refused}");
        }
    }
}
