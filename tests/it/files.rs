//! Files.

use patchbay_tests::{Answer, TestApp, User, json};
use reqwest::{
    Method,
    multipart::{Form, Part},
};

async fn upload(user: &User, name: &str, kind: &str, bytes: &[u8]) -> Answer {
    let part = Part::bytes(bytes.to_vec()).file_name(name.to_owned()).mime_str(kind).unwrap();
    let form = Form::new().text("note", "before the file").part("file", part);
    user.send(user.request(Method::POST, "/api/files/upload").multipart(form)).await
}

#[tokio::test]
async fn a_file_is_uploaded_attached_and_read_by_who_may() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let file = upload(&ann, "../notes ü.txt", "text/plain; charset=utf-8", b"hello world").await.expect(201);
    assert_eq!(
        (&file["filename"], &file["file_type"], &file["file_size"], &file["message_id"]),
        (&json!("notes ü.txt"), &json!("text/plain"), &json!(11), &json!(null))
    );
    assert!(file.get("file_path").is_none() && file.get("sha256").is_none());
    let id = file["id"].as_i64().unwrap();
    let (path, download) = (format!("/api/files/{id}"), file["download_url"].as_str().unwrap().to_owned());
    assert_eq!(bob.get(&path).await.problem(404), "file_not_found");

    let channel = ann.private_channel("secret", &[&bob]).await;
    let posts = format!("/api/channels/{channel}/messages");
    let stolen = bob.post(&posts, &json!({ "file_ids": [id] })).await;
    assert_eq!(stolen.problem(422), "validation_failed");
    let mut at_bobs = bob.socket().await;
    let message = ann.post(&posts, &json!({ "content": "", "file_ids": [id, id] })).await.expect(201);
    assert_eq!((&message["has_attachments"], &message["files"][0]["id"]), (&json!(true), &json!(id)));
    assert_eq!(at_bobs.event("message.created").await["data"]["files"][0]["filename"], "notes ü.txt");
    let again = ann.post(&posts, &json!({ "file_ids": [id] })).await;
    assert_eq!(again.problem(422), "validation_failed");

    let answer = bob.get(&download).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "hello world");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let disposition = answer.headers["content-disposition"].to_str().unwrap().to_owned();
    assert!(
        disposition.starts_with("attachment; filename=\"notes__.txt\"; filename*=UTF-8''notes%20"),
        "{disposition}"
    );
    for path in [&path, &download] {
        assert_eq!(cid.get(path).await.problem(404), "file_not_found");
        assert_eq!(app.anonymous().get(path).await.problem(401), "unauthenticated");
    }
    assert_eq!(bob.delete(&path).await.problem(403), "forbidden");
    ann.delete(&path).await.expect(204);
    assert_eq!(at_bobs.event("message.updated").await["data"]["files"], json!([]));
    assert_eq!(bob.get(&download).await.problem(404), "file_not_found");
    let bytes_left = walk(&app.data().join("files"));
    assert_eq!(bytes_left, 0, "the bytes go with the row");
}

fn walk(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}

#[tokio::test]
async fn parts_of_a_file_and_what_has_not_changed() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let file = upload(&ann, "big.bin", "application/octet-stream", &bytes).await.expect(201);
    let download = file["download_url"].as_str().unwrap().to_owned();
    let get = async |headers: &[(&str, &str)]| {
        let request = headers.iter().fold(ann.request(Method::GET, &download), |r, (n, v)| r.header(*n, *v));
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap())
    };
    let (status, headers, whole) = get(&[]).await;
    assert_eq!((status, whole == bytes), (200, true));
    let etag = headers["etag"].to_str().unwrap().to_owned();
    let (status, headers, part) = get(&[("range", "bytes=1000000-1000007")]).await;
    assert_eq!((status, &part[..]), (206, &bytes[1_000_000..1_000_008]));
    assert_eq!(headers["content-range"], "bytes 1000000-1000007/1200000");
    let (status, _, part) = get(&[("range", "bytes=-5"), ("if-range", &etag)]).await;
    assert_eq!((status, &part[..]), (206, &bytes[1_199_995..]));
    let (status, _, _) = get(&[("range", "bytes=-5"), ("if-range", "\"other\"")]).await;
    assert_eq!(status, 200);
    let (status, headers, _) = get(&[("range", "bytes=1200000-")]).await;
    assert_eq!((status, headers["content-range"].to_str().unwrap()), (416, "bytes */1200000"));
    let (status, _, body) = get(&[("if-none-match", &etag)]).await;
    assert_eq!((status, body.len()), (304, 0));
}

#[tokio::test]
async fn bad_uploads_leave_nothing() {
    let app = TestApp::start_with(&["files.max_size=1000"]).await;
    let ann = app.user("ann").await;
    assert_eq!(upload(&ann, "big.bin", "image/png", &[0; 1001]).await.problem(413), "too_large");
    upload(&ann, "fits.png", "image/png", &[0; 1000]).await.expect(201);
    assert_eq!(upload(&ann, "..", "image/png", b"x").await.problem(422), "validation_failed");
    let form = Form::new().text("other", "x");
    let request = ann.request(Method::POST, "/api/files/upload").multipart(form);
    assert_eq!(ann.send(request).await.problem(422), "validation_failed");
    let answer = ann.post("/api/files/upload", &json!({})).await;
    assert_eq!(answer.problem(415), "unsupported_media_type");
    let request = ann.request(Method::POST, "/api/files/upload");
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    let answer = ann
        .send(request.body("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\ncut"))
        .await;
    assert_eq!(answer.problem(422), "validation_failed");
    assert_eq!(walk(&app.data().join("files")), 1);
    let shown = ann.get("/api/files/1/download").await;
    assert_eq!(shown.status, 404);
    let image = ann.request(Method::GET, "/api/files/2/download").send().await.unwrap();
    assert!(image.headers()["content-disposition"].to_str().unwrap().starts_with("inline"));
}
