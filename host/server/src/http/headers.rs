//! Headers that keep browsers from making something of an answer that it isn't. A handler's own header wins.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use crate::config::Config;

/// A year, as browsers that keep lists of such sites ask for.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds what an answer of the API should say and doesn't.
pub(super) fn secure(headers: &mut HeaderMap, config: &Config) {
    let mut default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(REFERRER_POLICY, "no-referrer");
    // Nothing of the API is a page; nothing may frame it.
    default(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/json") || kind.starts_with(b"application/problem+json")
    });
    if is_json {
        // Tokens, and what only its reader may see.
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if config.server.public_url.as_ref().is_some_and(|url| url.is_https()) {
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
    }
}
