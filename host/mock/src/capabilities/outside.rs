//! Files, and requests to other servers, which are answered by what the test prepared.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use patchbay_core::{Actor, File, FileId, MessageId};
use patchbay_runtime::{
    HostErrorKind,
    capabilities::{
        files::Files,
        http_client::{HttpClient, IncomingAnswer, OutgoingRequest},
    },
};
use serde_json::json;

use super::{name_of, own::shown};
use crate::world::{Answer, State, World, error, invalid, not_found};

/// A file that the actor may see: an own one, or one of a message that can be read.
fn file<'a>(state: &'a State, actor: &Actor, id: FileId) -> Answer<&'a (File, Vec<u8>)> {
    let found = state.files.get(&id).ok_or_else(|| not_found("file"))?;
    let may_see = match found.0.message_id {
        Some(message) => state.message(actor, message).is_ok(),
        None => actor.user_id() == Some(found.0.uploaded_by_id),
    };
    if may_see { Ok(found) } else { Err(not_found("file")) }
}

#[async_trait]
impl Files for World {
    async fn get(&self, actor: &Actor, id: FileId) -> Answer<File> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0 });
        self.call(("files", "get"), arguments, |state| Ok(file(state, actor, id)?.0.clone()))
    }

    async fn of_message(&self, actor: &Actor, message: MessageId) -> Answer<Vec<File>> {
        let arguments = json!({ "actor": name_of(self, actor), "message": message.0 });
        self.call(("files", "of-message"), arguments, |state| {
            Ok(state.message(actor, message)?.files.clone())
        })
    }

    async fn read(&self, actor: &Actor, id: FileId, range: Range<u64>) -> Answer<Vec<u8>> {
        let arguments =
            json!({ "actor": name_of(self, actor), "id": id.0, "offset": range.start, "end": range.end });
        self.call(("files", "read"), arguments, |state| {
            let (_, content) = file(state, actor, id)?;
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
            Ok(content.get(place(range.start)..place(range.end)).unwrap_or_default().to_vec())
        })
    }

    async fn create(&self, actor: &Actor, filename: &str, file_type: &str, content: Bytes) -> Answer<File> {
        let arguments = json!({
            "actor": name_of(self, actor), "filename": filename, "file_type": file_type,
            "content": shown(&content),
        });
        self.call(("files", "create"), arguments, |state| state.upload(actor, filename, file_type, &content))
    }
}

#[async_trait]
impl HttpClient for World {
    async fn send(&self, _: &str, request: OutgoingRequest) -> Answer<IncomingAnswer> {
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| [name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into()])
            .collect();
        let (method, url) = (request.method.as_str().to_owned(), request.url);
        let sent = json!({ "method": method, "url": url, "headers": headers, "body": shown(&request.body) });
        self.call(("http-client", "send"), sent.clone(), |state| {
            check_egress(state, &url)?;
            state.requests.push(sent);
            // The last one that fits: a test can change its mind.
            let found = state.canned.iter().rev().find(|canned| canned.fits(&method, &url));
            found.map(|canned| canned.answer.clone()).ok_or_else(|| {
                let detail = format!("the test has no answer for {method} {url}; give one with `answer`");
                error(HostErrorKind::Unavailable, "unavailable", detail)
            })
        })
    }
}

fn check_egress(state: &State, url: &str) -> Answer<()> {
    let uri: http::Uri = url.parse().map_err(|_| invalid(format!("url {url:?} is no URL")))?;
    let default_port = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return Err(invalid("url must begin with https:// or http://")),
    };
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(default_port);
    if state.egress.iter().any(|granted| granted.covers(&host, port, default_port)) {
        return Ok(());
    }
    let detail =
        format!("{host} is not among the hosts that were granted; list it in the manifest's `egress`");
    Err(error(HostErrorKind::Forbidden, "egress_not_granted", detail))
}
