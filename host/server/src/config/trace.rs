//! `trace.*`

use super::{declare, value::Value};

declare! {
    /// Traces of requests, for OpenTelemetry.
    "trace" => Trace {
        /// The collector's OTLP endpoint over HTTP, to which /v1/traces is added; empty: no traces.
        otlp_endpoint: Option<Endpoint> = "",
    }
}

/// `http://HOST:PORT`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl Value for Endpoint {
    const ALLOWED: &'static str = "http://HOST:PORT[/PATH], e.g. http://127.0.0.1:4318";
    fn parse(text: &str) -> Result<Self, String> {
        let url = text.parse::<http::Uri>().ok();
        match url.filter(|url| url.scheme_str() == Some("http") && url.query().is_none()) {
            Some(_) => Ok(Self(text.trim_end_matches('/').to_owned())),
            None => Err(format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self(String::new())
    }
}
