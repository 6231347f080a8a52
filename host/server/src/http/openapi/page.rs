//! `/api/docs`: the document to read and to try. Swagger UI, which is inside the program; nothing comes from
//! outside, and the page's policy forbids that it could.
//!
//! Owns: the page and its headers. Must not: know the document.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, StatusCode, header};
use swagger_ui_redist::{SwaggerUi, SwaggerUiStaticFile};

use crate::http::{Failure, extract::Id};

const PAGE: &str = include_str!("page.html");

/// Scripts and styles from this server only. Swagger UI sets style attributes and has its icons in `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn headers() -> [(HeaderName, &'static str); 4] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ]
}

/// `/api/docs`.
pub(in crate::http) async fn page() -> Response {
    (headers(), Html(PAGE)).into_response()
}

/// `/api/docs/{file}`.
pub(in crate::http) async fn asset(Id(name): Id<String>) -> Result<Response, Failure> {
    let (kind, content) = match name.as_str() {
        "page.js" => ("text/javascript", include_bytes!("page.js").as_slice()),
        "page.css" => ("text/css", include_bytes!("page.css").as_slice()),
        "swagger-ui.js" => ("text/javascript", bundled(SwaggerUiStaticFile::Js)),
        "swagger-ui.css" => ("text/css", bundled(SwaggerUiStaticFile::Css)),
        _ => return Err(Failure::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")),
    };
    Ok((headers(), [(header::CONTENT_TYPE, kind)], content).into_response())
}

fn bundled(file: SwaggerUiStaticFile) -> &'static [u8] {
    let found = SwaggerUi::static_files().iter().find(|(name, _)| *name == file);
    found.map_or(&[], |(_, content)| content)
}
