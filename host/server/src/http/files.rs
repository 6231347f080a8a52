//! `/api/files/…`

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use axum::{
    body::Body,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use patchbay_core::{File as CoreFile, FileId};
use patchbay_protocol::File;
use serde_json::json;

use super::{
    Failure,
    extract::{As, Id},
    openapi::{Document, Operation},
};
use crate::{app::App, picture};

type Answer<T> = Result<T, Failure>;

/// What a form may have beside the file.
const FORM: u64 = 64 * 1024;

pub(super) fn not_a_form(rejection: &MultipartRejection) -> Failure {
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", rejection.body_text())
}

pub(super) async fn upload(
    State(app): State<App>,
    As(actor): As,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Answer<(StatusCode, axum::Json<File>)> {
    // What can't succeed need not be sent.
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let max = app.config.files.max_size.0;
    if length.is_some_and(|length| length > max.saturating_add(FORM)) {
        return Err(crate::ops::Error::TooLarge(format!("the file has more than {max} bytes")).into());
    }
    let mut form = form.map_err(|rejection| not_a_form(&rejection))?;
    while let Some(field) = next_field(&mut form).await? {
        if field.name() == Some("file") {
            let name = field.file_name().unwrap_or_default().to_owned();
            let kind = field.content_type().map(str::to_owned);
            let file = app.ops.upload(&actor, &name, kind.as_deref(), field).await?;
            return Ok((StatusCode::CREATED, axum::Json(File::from(&file))));
        }
    }
    Err(no_file())
}

pub(super) async fn next_field(form: &mut Multipart) -> Answer<Option<Field<'_>>> {
    form.next_field()
        .await
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, "malformed_multipart", error.body_text()))
}

pub(super) fn no_file() -> Failure {
    Failure::field("file", "missing", "is needed")
}

pub(super) async fn get(State(app): State<App>, As(actor): As, Id(id): Id<i64>) -> Answer<axum::Json<File>> {
    Ok(axum::Json(File::from(&app.ops.file(&actor, FileId(id)).await?)))
}

pub(super) async fn delete(State(app): State<App>, As(actor): As, Id(id): Id<i64>) -> Answer<StatusCode> {
    app.ops.delete_file(&actor, FileId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn download(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    let file = app.ops.file(&actor, FileId(id)).await?;
    let version = Version::of(&file);
    let size = u64::try_from(file.file_size).unwrap_or(0);
    if version.is_known(&headers) {
        return Ok((StatusCode::NOT_MODIFIED, head(&file, &version, 0)?).into_response());
    }
    let range =
        headers.get(header::RANGE).filter(|_| method == Method::GET && version.may_be_parted(&headers));
    match range.and_then(|value| value.to_str().ok()).map_or(Asked::Whole, |range| asked(range, size)) {
        Asked::Whole => {
            let head = head(&file, &version, size)?;
            if method == Method::HEAD {
                return Ok((head, Body::empty()).into_response());
            }
            let content = app.ops.file_content(&file, None).await?;
            Ok((head, Body::from_stream(content)).into_response())
        }
        Asked::Part(part) => {
            let mut head = head(&file, &version, part.end - part.start)?;
            let place = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            head.insert(header::CONTENT_RANGE, value(&place)?);
            let content = app.ops.file_content(&file, Some(part)).await?;
            Ok((StatusCode::PARTIAL_CONTENT, head, Body::from_stream(content)).into_response())
        }
        Asked::Nothing => {
            let why = format!("the file has {size} bytes");
            let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", why);
            let mut response = failure.into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, value(&format!("bytes */{size}"))?);
            Ok(response)
        }
    }
}

/// A small picture of a file that is an image.
pub(super) async fn thumbnail(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    headers: HeaderMap,
) -> Answer<Response> {
    let file = app.ops.file(&actor, FileId(id)).await?;
    let etag = format!("\"{}-thumbnail\"", file.sha256);
    let mut head = HeaderMap::new();
    head.insert(header::ETAG, value(&etag)?);
    // A file never changes; who may no longer see it has seen it.
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400"));
    head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if matches(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let (kind, content) = app.ops.thumbnail(&file).await?;
    head.insert(header::CONTENT_TYPE, value(&kind)?);
    Ok((head, Body::from_stream(content)).into_response())
}

/// What tells one content from another (RFC 9110, 8.8). That of a file never changes.
struct Version {
    etag: String,
    /// Whole seconds.
    since: SystemTime,
}

impl Version {
    fn of(file: &CoreFile) -> Self {
        let seconds = u64::try_from(file.created_at.0 / 1000).unwrap_or(0);
        Self {
            etag: format!("\"{}\"", file.sha256),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    /// Whether the client has it already (RFC 9110, 13.1.2 and 13.1.3).
    fn is_known(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(header::IF_NONE_MATCH) {
            return matches(headers, &self.etag);
        }
        date(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| since >= self.since)
    }

    /// Whether a part of this version is what the client asks for (RFC 9110, 13.1.5): weak tags don't count.
    fn may_be_parted(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::IF_RANGE) {
            None => true,
            Some(tag) if tag.as_bytes() == self.etag.as_bytes() => true,
            Some(_) => date(headers, header::IF_RANGE) == Some(self.since),
        }
    }
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// Whether `If-None-Match` names the tag.
pub(super) fn matches(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn value(text: &str) -> Answer<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| crate::ops::Error::Internal(error.to_string()).into())
}

/// Headers that keep a browser from running what somebody has uploaded.
fn head(file: &CoreFile, version: &Version, length: u64) -> Answer<HeaderMap> {
    let how = if picture::is_shown(&file.file_type) { "inline" } else { "attachment" };
    // RFC 6266: a plain name for old clients, the exact one for all others.
    let plain: String = file
        .filename
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\%".contains(c) { c } else { '_' })
        .collect();
    let exact = percent_encoding::utf8_percent_encode(&file.filename, percent_encoding::NON_ALPHANUMERIC);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, value(&file.file_type)?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let disposition = format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{exact}");
    headers.insert(header::CONTENT_DISPOSITION, value(&disposition)?);
    headers.insert(header::ETAG, value(&version.etag)?);
    headers.insert(header::LAST_MODIFIED, value(&httpdate::fmt_http_date(version.since))?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let policy = "default-src 'none'; sandbox";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(headers)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Nothing,
}

/// What a `Range` header asks of a file of that size (RFC 9110, 14.2). Several ranges, and what isn't one, are
/// answered with the whole.
fn asked(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range
        .split_once('=')
        .filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"))
        .and_then(|(_, range)| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let part = match (place(first), place(last)) {
        (Place::At(first), Place::At(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Place::At(first), Place::Open) => first..size,
        (Place::Open, Place::At(count)) => size.saturating_sub(count)..size,
        _ => return Asked::Whole,
    };
    if part.start < part.end { Asked::Part(part) } else { Asked::Nothing }
}

enum Place {
    Open,
    /// One beyond all files is beyond this one too.
    At(u64),
    Wrong,
}

fn place(text: &str) -> Place {
    match text.trim() {
        "" => Place::Open,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Place::At(digits.parse().unwrap_or(u64::MAX)),
        _ => Place::Wrong,
    }
}

/// An operation that takes a form with a file.
pub(super) fn takes_file(operation: Operation<'_>) -> Operation<'_> {
    operation
        .takes(
            "multipart/form-data",
            &json!({
                "type": "object",
                "properties": { "file": { "type": "string", "format": "binary" } },
                "required": ["file"],
            }),
        )
        .refuses(400, &["malformed_multipart"])
        .refuses(413, &["too_large"])
        .refuses(415, &["unsupported_media_type"])
        .refuses(422, &["validation_failed"])
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Files", "Readable by who uploaded them and by whoever can read their message.");
    takes_file(doc.post("/api/files/upload", upload))
        .says(
            "Upload a file",
            "Attach it by `file_ids` of a message; what isn't attached is removed after a day.",
        )
        .refuses(413, &["quota_exceeded"])
        .answers(201, "The file.");
    doc.get("/api/files/{id}", get).says("Get what is known of a file", "").refuses(404, &["file_not_found"]);
    doc.delete("/api/files/{id}", delete)
        .says("Delete a file", "For who uploaded it.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["file_not_found"]);
    let content = json!({ "*/*": { "schema": { "type": "string", "format": "binary" } } });
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    let whole = ["ETag", "Last-Modified", "Content-Disposition", "X-Content-Type-Options"];
    let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), header(name))).collect();
    let headers = serde_json::Value::Object(all(&whole));
    let part = serde_json::Value::Object(all(&[&whole[..], &["Content-Range"]].concat()));
    let text = json!({ "type": "string" });
    doc.get("/api/files/{id}/download", download)
        .says("Download a file", "Safe images are shown in the page, anything else is saved.")
        .header("Range", &text, "One range of bytes, e.g. `bytes=0-1023`.")
        .header("If-Range", &text, "An `ETag` or a date: the range is answered only if it still fits.")
        .header("If-None-Match", &text, "An `ETag`: 304 if it still fits.")
        .header("If-Modified-Since", &text, "A date: 304 if it still fits.")
        .answers_with(200, "The file.", content.clone(), headers.clone())
        .answers_with(206, "The part that was asked for.", content, part)
        .answers_with(304, "It has not changed.", serde_json::Value::Null, headers)
        .refuses(404, &["file_not_found"])
        .refuses(416, &["range_not_satisfiable"]);
    let picture = json!({ "type": "string", "format": "binary" });
    let content = json!({ "image/jpeg": { "schema": picture }, "image/png": { "schema": picture } });
    let headers =
        json!({ "ETag": header("ETag"), "X-Content-Type-Options": header("X-Content-Type-Options") });
    doc.get("/api/files/{id}/thumbnail", thumbnail)
        .says("Get a small picture of an image", "At most 400 by 400 pixels, the right way up.")
        .header("If-None-Match", &text, "An `ETag`: 304 if it still fits.")
        .answers_with(200, "The small picture.", content, headers.clone())
        .answers_with(304, "It has not changed.", serde_json::Value::Null, headers)
        .refuses(404, &["file_not_found", "thumbnail_not_found"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-3", Asked::Part(0..4)),
            ("bytes=8-", Asked::Part(8..10)),
            ("bytes=-4", Asked::Part(6..10)),
            ("bytes=-40", Asked::Part(0..10)),
            ("bytes=9-99", Asked::Part(9..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("Bytes=0-3", Asked::Part(0..4)),
            ("bytes=0-99999999999999999999999", Asked::Part(0..10)),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=+1-3", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=5-3", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("bytes=x-y", Asked::Whole),
        ] {
            assert_eq!(asked(range, 10), expected, "{range}");
        }
        assert_eq!(asked("bytes=0-", 0), Asked::Nothing);
    }
}
