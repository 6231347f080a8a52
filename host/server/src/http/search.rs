//! `/api/admin/search`: the index of words, as its operator sees it.

use axum::extract::State;
use http::StatusCode;
use patchbay_protocol::{IndexProgress, SearchIndex};

use super::{Failure, openapi::Document};
use crate::{
    app::App,
    ops::{Admin, IndexState},
};

type Answer<T> = Result<axum::Json<T>, Failure>;

fn shown(state: IndexState) -> SearchIndex {
    let progress =
        |(index, progress): (patchbay_store::Index, patchbay_store::IndexProgress)| IndexProgress {
            name: index.as_str().to_owned(),
            is_complete: progress.is_complete(),
            at: progress.at,
            until: progress.until,
        };
    SearchIndex {
        indexes: state.indexes.into_iter().map(progress).collect(),
        files_waiting: state.files_waiting,
        files_failed: state.files_failed,
    }
}

pub(super) async fn index(State(app): State<App>, by: Admin) -> Answer<SearchIndex> {
    Ok(axum::Json(shown(app.ops.index_state_for(&by).await?)))
}

pub(super) async fn reindex(
    State(app): State<App>,
    by: Admin,
) -> Result<(StatusCode, axum::Json<SearchIndex>), Failure> {
    Ok((StatusCode::ACCEPTED, axum::Json(shown(app.ops.reindex(&by).await?))))
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.get("/api/admin/search", index)
        .says(
            "See how far the search index is",
            "What is posted is indexed at once; this is about what was there before.",
        )
        .refuses(403, &["forbidden"]);
    doc.post("/api/admin/search/reindex", reindex)
        .says(
            "Make the search index anew",
            "Behind what is going on: everything is found meanwhile. It goes on after a restart where it was.",
        )
        .answers(202, "It has begun.")
        .refuses(403, &["forbidden"]);
}
