//! `/api/files/…`

use std::ops::Range;

use axum::{
    body::Body,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use patchbay_core::{File as CoreFile, FileId};
use patchbay_protocol::File;
use serde_json::json;

use super::{
    Failure,
    extract::{As, Id},
    openapi::{Document, Operation},
};
use crate::app::App;

type Answer<T> = Result<T, Failure>;

/// Shown in the page instead of being saved: images that can't carry scripts.
const INLINE: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

pub(super) fn not_a_form(rejection: &MultipartRejection) -> Failure {
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", rejection.body_text())
}

pub(super) async fn upload(
    State(app): State<App>,
    As(actor): As,
    form: Result<Multipart, MultipartRejection>,
) -> Answer<(StatusCode, axum::Json<File>)> {
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
    headers: HeaderMap,
) -> Answer<Response> {
    let file = app.ops.file(&actor, FileId(id)).await?;
    let etag = format!("\"{}\"", file.sha256);
    let size = u64::try_from(file.file_size).unwrap_or(0);
    if matches(&headers, header::IF_NONE_MATCH, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, head(&file, &etag, 0)?).into_response());
    }
    let wants_part = !headers.contains_key(header::IF_RANGE) || matches(&headers, header::IF_RANGE, &etag);
    let range = headers.get(header::RANGE).filter(|_| wants_part).and_then(|value| value.to_str().ok());
    match range.map_or(Asked::Whole, |range| asked(range, size)) {
        Asked::Whole => {
            let content = app.ops.file_content(&file, None).await?;
            Ok((head(&file, &etag, size)?, Body::from_stream(content)).into_response())
        }
        Asked::Part(part) => {
            let mut head = head(&file, &etag, part.end - part.start)?;
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

fn matches(headers: &HeaderMap, name: header::HeaderName, etag: &str) -> bool {
    let listed = headers.get(name).and_then(|value| value.to_str().ok());
    listed.is_some_and(|list| {
        list.split(',').any(|tag| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == etag)
    })
}

fn value(text: &str) -> Answer<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| crate::ops::Error::Internal(error.to_string()).into())
}

/// Headers that keep a browser from running what somebody has uploaded.
fn head(file: &CoreFile, etag: &str, length: u64) -> Answer<HeaderMap> {
    let is_image = INLINE.contains(&file.file_type.as_str());
    let how = if is_image { "inline" } else { "attachment" };
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
    headers.insert(header::ETAG, value(etag)?);
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
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::Whole;
    };
    let part = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..size,
        (Err(_), Ok(count)) if first.trim().is_empty() => size.saturating_sub(count)..size,
        _ => return Asked::Whole,
    };
    if part.start < part.end { Asked::Part(part) } else { Asked::Nothing }
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
        .answers(201, "The file.");
    doc.get("/api/files/{id}", get).says("Get what is known of a file", "").refuses(404, &["file_not_found"]);
    doc.delete("/api/files/{id}", delete)
        .says("Delete a file", "For who uploaded it.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["file_not_found"]);
    let content = json!({ "*/*": { "schema": { "type": "string", "format": "binary" } } });
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    let headers = json!({
        "ETag": header("ETag"),
        "Content-Disposition": header("Content-Disposition"),
        "X-Content-Type-Options": header("X-Content-Type-Options"),
    });
    let mut part = headers.clone();
    part["Content-Range"] = header("Content-Range");
    let text = json!({ "type": "string" });
    doc.get("/api/files/{id}/download", download)
        .says("Download a file", "Safe images are shown in the page, anything else is saved.")
        .header("Range", &text, "One range of bytes, e.g. `bytes=0-1023`.")
        .header("If-Range", &text, "An `ETag`: the range is answered only if it still fits.")
        .header("If-None-Match", &text, "An `ETag`: 304 if it still fits.")
        .answers_with(200, "The file.", content.clone(), headers.clone())
        .answers_with(206, "The part that was asked for.", content, part)
        .answers_with(304, "It has not changed.", serde_json::Value::Null, headers)
        .refuses(404, &["file_not_found"])
        .refuses(416, &["range_not_satisfiable"]);
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
