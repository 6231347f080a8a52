//! Compression of answers that gain by it: text of the API that is longer than [`SMALLEST`].
//!
//! Not events as they come, not files: a range counts bytes of the file itself, and the strong ETag of a file names
//! its bytes, not those of a compressed form. gzip only: every client has it, and it needs no code outside Rust.

use http::header;
use tower_http::compression::{
    CompressionLayer, CompressionLevel,
    predicate::{And, Predicate, SizeAbove},
};

/// Below this an answer fits one packet anyway, in bytes.
const SMALLEST: u64 = 1_400;
/// What is compressed: media types, without parameters.
const KINDS: [&str; 6] =
    ["application/json", "application/javascript", "text/css", "text/html", "text/javascript", "text/plain"];

#[derive(Clone, Copy, Debug)]
pub(super) struct IsText;

impl Predicate for IsText {
    fn should_compress<B: http_body::Body>(&self, response: &http::Response<B>) -> bool {
        let headers = response.headers();
        let is_whole =
            [header::ETAG, header::ACCEPT_RANGES, header::CONTENT_RANGE, header::CONTENT_DISPOSITION]
                .iter()
                .all(|name| !headers.contains_key(name));
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        is_whole && KINDS.contains(&kind.split(';').next().unwrap_or_default().trim())
    }
}

pub(super) fn layer() -> CompressionLayer<And<SizeAbove, IsText>> {
    // The fastest level gives most of what there is to gain; the cores have other things to do.
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(SMALLEST).and(IsText))
}
