//! Files.

use image::{DynamicImage, ImageFormat};
use patchbay_tests::{TestApp, json};
use reqwest::{
    Method,
    multipart::{Form, Part},
};

#[tokio::test]
async fn a_file_is_uploaded_attached_and_read_by_who_may() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let file = ann.upload("../notes ü.txt", "text/plain; charset=utf-8", "hello world").await.expect(201);
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
    app.files_kept(0).await;
}

#[tokio::test]
async fn parts_of_a_file_and_what_has_not_changed() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let file = ann.upload("big.bin", "application/octet-stream", bytes.clone()).await.expect(201);
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
    assert_eq!(ann.upload("big.bin", "image/png", vec![0; 1001]).await.problem(413), "too_large");
    ann.upload("fits.bin", "text/html", vec![0; 1000]).await.expect(201);
    assert_eq!(ann.upload("..", "image/png", "x").await.problem(422), "validation_failed");
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
    app.files_kept(1).await;
    let shown = ann.get("/api/files/1/download").await;
    assert_eq!(shown.status, 404);
}

#[tokio::test]
async fn a_profile_picture_is_pixels_and_nothing_else() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let send = async |method: Method, bytes: &[u8]| {
        let part = Part::bytes(bytes.to_vec()).file_name("me.png").mime_str("image/png").unwrap();
        let request = ann.request(method, "/api/users/me/profile-picture");
        ann.send(request.multipart(Form::new().part("file", part))).await
    };
    // A GIF of one pixel, with words behind it.
    let mut gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;".to_vec();
    gif.extend_from_slice(b"<script>alert(1)</script>");
    let mut at_bobs = bob.socket().await;
    let user = send(Method::PUT, &gif).await.expect(200);
    let url = user["profile_picture_url"].as_str().unwrap().to_owned();
    assert_eq!(at_bobs.event("user.updated").await["data"]["profile_picture_url"], url.as_str());
    let response = bob.request(Method::GET, &url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "image/png");
    let kept = response.bytes().await.unwrap();
    assert!(kept.starts_with(b"\x89PNG") && !kept.windows(6).any(|bytes| bytes == b"script"));
    send(Method::POST, &gif).await.expect(200);
    app.files_kept(1).await;
    for bad in [&b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..], b"", b"GIF89a"] {
        assert_eq!(send(Method::PUT, bad).await.problem(422), "validation_failed");
    }
    assert_eq!(send(Method::PUT, &vec![0; 11 << 20]).await.problem(413), "too_large");
    ann.delete("/api/users/me/profile-picture").await.expect(204);
    assert_eq!(bob.get(&url).await.problem(404), "profile_picture_not_found");
    app.files_kept(0).await;
    assert_eq!(ann.get("/api/users/me").await.expect(200)["profile_picture_url"], json!(null));
}

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn images_have_thumbnails() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let formats = [
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Gif, "image/gif"),
        (ImageFormat::WebP, "image/webp"),
    ];
    for (format, kind) in formats {
        let file = ann.upload("wide.img", kind, picture(1200, 300, format)).await.expect(201);
        assert_eq!((&file["width"], &file["height"]), (&json!(1200), &json!(300)), "{kind}");
        let small = ann.bytes(file["thumbnail_url"].as_str().unwrap()).await;
        let small = image::load_from_memory(&small).unwrap();
        assert_eq!((small.width(), small.height()), (400, 100), "{kind}");
    }
    // A picture larger than one write, from a client that says no type.
    let mut noise = image::RgbImage::new(900, 800);
    noise.pixels_mut().enumerate().for_each(|(n, pixel)| {
        pixel.0 = (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()[1..].try_into().unwrap();
    });
    let mut png = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut png, ImageFormat::Png).unwrap();
    assert!(png.get_ref().len() > 1 << 20);
    let part = Part::bytes(png.into_inner()).file_name("noise.png");
    let request = ann.request(Method::POST, "/api/files/upload").multipart(Form::new().part("file", part));
    let file = ann.send(request).await.expect(201);
    assert_eq!(file["file_type"], "image/png");
    app.files_kept(10).await;

    // Who may see the file may see its thumbnail.
    let (id, url) = (file["id"].as_i64().unwrap(), file["thumbnail_url"].as_str().unwrap().to_owned());
    assert_eq!(bob.get(&url).await.problem(404), "file_not_found");
    assert_eq!(app.anonymous().get(&url).await.problem(401), "unauthenticated");
    let channel = ann.private_channel("secret", &[&bob]).await;
    let posts = format!("/api/channels/{channel}/messages");
    let message = ann.post(&posts, &json!({ "file_ids": [id] })).await.expect(201);
    assert_eq!(message["files"][0]["thumbnail_url"], url.as_str());
    let seen = bob.request(Method::GET, &url).send().await.unwrap();
    let headers = seen.headers().clone();
    assert_eq!(
        (&headers["content-type"], &headers["x-content-type-options"]),
        (&"image/jpeg".parse().unwrap(), &"nosniff".parse().unwrap())
    );
    assert!(headers["cache-control"].to_str().unwrap().starts_with("private, max-age="));
    let known =
        bob.request(Method::GET, &url).header("if-none-match", &headers["etag"]).send().await.unwrap();
    assert_eq!(known.status(), 304);
    ann.delete(&format!("/api/messages/{}", message["id"])).await.expect(204);
    assert_eq!(ann.get(&url).await.problem(404), "file_not_found");
    app.files_kept(8).await;
}

#[tokio::test]
async fn what_claims_to_be_an_image_is_kept_and_no_more() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let png = picture(64, 64, ImageFormat::Png);
    let mut bomb = png.clone();
    // Width and height of the header (PNG, 11.2.2), with the checksum that belongs to them.
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    for (bytes, said, told, how) in [
        (bomb, "image/png", "image/png", "inline"),
        (png[..60].to_vec(), "image/png", "image/png", "inline"),
        (b"<html><script>alert(1)</script>".to_vec(), "image/png", "application/octet-stream", "attachment"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
            "image/svg+xml",
            "image/svg+xml",
            "attachment",
        ),
        (png.clone(), "text/html", "text/html", "attachment"),
    ] {
        let file = ann.upload("odd.png", said, bytes.clone()).await.expect(201);
        assert_eq!(file["file_type"], told);
        assert_eq!((&file["thumbnail_url"], &file["width"]), (&json!(null), &json!(null)), "{said}");
        let id = file["id"].as_i64().unwrap();
        assert_eq!(ann.get(&format!("/api/files/{id}/thumbnail")).await.problem(404), "thumbnail_not_found");
        let url = file["download_url"].as_str().unwrap();
        let response = ann.request(Method::GET, url).send().await.unwrap();
        let headers = response.headers().clone();
        assert!(headers["content-disposition"].to_str().unwrap().starts_with(how), "{said}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
        assert_eq!(response.bytes().await.unwrap(), bytes);
    }
    let file = ann.upload("right.gif", "image/gif", png).await.expect(201);
    assert_eq!(file["file_type"], "image/png", "the content says what it is");
}

/// PNG, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 },
        )
    })
}

#[tokio::test]
async fn a_quota_holds_however_many_upload_at_once() {
    let app = TestApp::start_with(&["files.quota=1000KiB", "files.max_size=600KiB"]).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let uploads = (0..20).map(|_| {
        let ann = ann.clone();
        tokio::spawn(async move { ann.upload("a.bin", "text/plain", vec![1; 300 * 1024]).await })
    });
    let mut kept = Vec::new();
    for upload in uploads.collect::<Vec<_>>() {
        let answer = upload.await.unwrap();
        match answer.status {
            201 => kept.push(answer.body["id"].as_i64().unwrap()),
            _ => assert_eq!(answer.problem(413), "quota_exceeded"),
        }
    }
    assert_eq!(kept.len(), 3);
    app.files_kept(3).await;
    let too_much = ann.upload("b.bin", "text/plain", vec![1; 101 * 1024]).await;
    assert_eq!(too_much.body["detail"], "all files of a user may have 1024000 bytes together");
    assert_eq!(too_much.problem(413), "quota_exceeded");
    ann.upload("c.bin", "text/plain", vec![1; 100 * 1024]).await.expect(201);
    assert_eq!(ann.upload("d.bin", "text/plain", "x").await.problem(413), "quota_exceeded");
    // A file that no quota would let in is too large, and others have a quota of their own.
    assert_eq!(bob.upload("e.bin", "text/plain", vec![1; 601 * 1024]).await.problem(413), "too_large");
    bob.upload("f.bin", "text/plain", vec![1; 600 * 1024]).await.expect(201);
    // What is removed, with its message or by itself, is free again.
    ann.delete(&format!("/api/files/{}", kept[0])).await.expect(204);
    let channel = ann.channel("general", &[]).await;
    let posts = format!("/api/channels/{channel}/messages");
    let message = ann.post(&posts, &json!({ "file_ids": [kept[1]] })).await.expect(201);
    ann.delete(&format!("/api/messages/{}", message["id"])).await.expect(204);
    ann.upload("g.bin", "text/plain", vec![1; 600 * 1024]).await.expect(201);
    app.files_kept(4).await;
}

#[tokio::test]
async fn files_go_with_their_messages() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.private_channel("secret", &[&bob]).await;
    let posts = format!("/api/channels/{channel}/messages");
    let post = async || {
        let file = ann.upload("a.txt", "text/plain", "hello").await.expect(201);
        let message = ann.post(&posts, &json!({ "file_ids": [file["id"]] })).await.expect(201);
        (message["id"].as_i64().unwrap(), file["download_url"].as_str().unwrap().to_owned())
    };
    let (root, at_root) = post().await;
    bob.post(&posts, &json!({ "content": "reply", "parent_id": root })).await.expect(201);
    let (_, stays) = post().await;
    assert_eq!(bob.bytes(&at_root).await, b"hello");
    // A tombstone has no files.
    ann.delete(&format!("/api/messages/{root}")).await.expect(204);
    for user in [&ann, &bob] {
        assert_eq!(user.get(&at_root).await.problem(404), "file_not_found");
    }
    app.files_kept(1).await;
    // A member who has left reads no more.
    bob.delete(&format!("/api/channels/{channel}/members/{}", bob.id)).await.expect(204);
    assert_eq!(bob.get(&stays).await.problem(404), "file_not_found");
    assert_eq!(ann.bytes(&stays).await, b"hello");
    let unknown = ann.post(&posts, &json!({ "file_ids": [99] })).await;
    assert_eq!(unknown.problem(422), "validation_failed");
}

#[tokio::test]
async fn a_download_is_told_apart_by_time_too() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let file = ann.upload("a \"b\" ü.txt", "text/plain", "0123456789").await.expect(201);
    let url = file["download_url"].as_str().unwrap().to_owned();
    let ask = async |method: Method, headers: &[(&str, &str)]| {
        let request = headers.iter().fold(ann.request(method, &url), |r, (n, v)| r.header(*n, *v));
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    };
    let (status, headers, body) = ask(Method::HEAD, &[("range", "bytes=0-1")]).await;
    assert_eq!((status, body.as_str(), &headers["content-length"]), (200, "", &"10".parse().unwrap()));
    assert_eq!(headers["accept-ranges"], "bytes");
    let disposition = headers["content-disposition"].to_str().unwrap();
    assert_eq!(
        disposition,
        "attachment; filename=\"a__b___.txt\"; filename*=UTF-8''a%20%22b%22%20%C3%BC%2Etxt"
    );
    let (etag, modified) = (headers["etag"].to_str().unwrap(), headers["last-modified"].to_str().unwrap());
    assert_eq!(ask(Method::GET, &[("if-modified-since", modified)]).await.0, 304);
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(ask(Method::GET, &[("if-modified-since", long_ago)]).await.0, 200);
    let both = [("if-modified-since", modified), ("if-none-match", "\"other\"")];
    assert_eq!(ask(Method::GET, &both).await.0, 200, "the tag is the better sign");
    let weak = format!("W/{etag}");
    assert_eq!(ask(Method::GET, &[("if-none-match", &weak)]).await.0, 304);
    for (condition, status) in [(etag, 206), (modified, 206), (&*weak, 200), (long_ago, 200), ("*", 200)] {
        assert_eq!(
            ask(Method::GET, &[("range", "bytes=2-3"), ("if-range", condition)]).await.0,
            status,
            "{condition}"
        );
    }
    assert_eq!(ask(Method::GET, &[("range", "bytes=2-3")]).await.2, "23");
}
