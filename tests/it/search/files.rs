//! Files in search: by name, by type, and by what is written in them.

use std::time::Duration;

use patchbay_tests::{User, Value};

use super::{ids, search, servers};

/// A PDF of one page (ISO 32000-1, 7.5) with this line on it; `more` objects may be referred to.
fn pdf(line: &str, more: &[String]) -> Vec<u8> {
    let text = format!("BT /F1 24 Tf 72 720 Td ({line}) Tj ET");
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> /XObject << /X 6 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    objects.extend_from_slice(more);
    let (mut pdf, mut table) = ("%PDF-1.4\n".to_owned(), String::from("0000000000 65535 f \n"));
    for (at, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", at + 1));
    }
    let (start, size) = (pdf.len(), objects.len() + 1);
    pdf.push_str(&format!("xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"));
    pdf.push_str(&format!("startxref\n{start}\n%%EOF\n"));
    pdf.into_bytes()
}

async fn found(user: &User, q: &str) -> Vec<i64> {
    ids(&search(user, "files", &[("q", q)]).await.expect(200), "file")
}

/// Waits until every file has been read; how many could not be.
async fn read(root: &User) -> i64 {
    let state = root.until("/api/admin/search", |state: &Value| state["files_waiting"] == 0).await;
    state["files_failed"].as_i64().unwrap()
}

#[tokio::test]
async fn files_are_found_by_name_type_and_text() {
    for app in servers().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let channel = ann.channel("general", &[&bob]).await;
        let mut files = Vec::new();
        for (name, kind, bytes) in [
            ("Q3_report.pdf", "application/pdf", pdf("The walrus budget", &[])),
            ("notes.md", "text/markdown", "# Penguins\n\nand *walruses*".as_bytes().to_vec()),
            ("log.txt", "application/octet-stream", "über den Pinguin".as_bytes().to_vec()),
            ("holiday.png", "image/png", b"walrus".to_vec()),
        ] {
            let file = ann.upload(name, kind, bytes).await.expect(201)["id"].as_i64().unwrap();
            files.push(file);
        }
        let [report, notes, log, holiday] = files[..] else { unreachable!() };
        assert_eq!(read(&ann).await, 0);
        for (q, expected) in [
            ("report", vec![report]),
            ("Q3_report.pdf", vec![report]),
            ("pdf", vec![report]),
            ("q3", vec![report]),
            ("markdown", vec![notes]),
            ("holiday", vec![holiday]),
            ("walrus*", vec![notes, report]),
            ("\"walrus budget\"", vec![report]),
            ("penguins", vec![notes]),
            ("uber pinguin", vec![log]),
            ("-pdf -md -txt from:me", vec![holiday]),
            ("report before:2020-01-01", vec![]),
        ] {
            let mut seen = found(&ann, q).await;
            seen.sort_unstable();
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(seen, expected, "{q}");
        }
        assert_eq!(found(&bob, "walrus*").await, [] as [i64; 0], "they hang on no message");
        let body = patchbay_tests::json!({ "content": "look", "file_ids": [report] });
        let path = format!("/api/channels/{channel}/messages");
        let message = ann.post(&path, &body).await.expect(201)["id"].as_i64().unwrap();
        let page = search(&bob, "files", &[("q", "walrus")]).await.expect(200);
        assert_eq!(ids(&page, "file"), [report]);
        assert_eq!(page["items"][0]["highlight"], "The <mark>walrus</mark> budget", "{page}");
        assert_eq!(page["items"][0]["file"]["message_id"], message);
        let of_channel = [("q", "walrus"), ("channel_id", &*channel.to_string())];
        assert_eq!(ids(&search(&ann, "files", &of_channel).await.expect(200), "file"), [report]);
        assert_eq!(
            ids(&search(&ann, "files", &[("q", "walruses -in:general")]).await.expect(200), "file"),
            [notes]
        );
        let page = search(&ann, "files", &[("q", "from:ann"), ("limit", "3")]).await.expect(200);
        assert_eq!((ids(&page, "file"), &page["has_more"]), (vec![holiday, log, notes], &true.into()));

        ann.delete(&format!("/api/files/{notes}")).await.expect(204);
        assert_eq!(found(&ann, "penguins").await, [] as [i64; 0]);
        ann.delete(&format!("/api/messages/{message}")).await.expect(204);
        assert_eq!(found(&ann, "walrus*").await, [] as [i64; 0], "files go with their message");
    }
}

/// A file that is not what it says, or that was made to keep a reader busy, costs nobody anything.
#[tokio::test]
async fn hostile_files_are_found_by_their_names() {
    let app = servers().await.remove(0);
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    // A form that draws itself, and pages that are their own kids.
    let form = "<< /Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /X 6 0 R >> >> /Length 5 >>\n\
                stream\n/X Do\nendstream";
    let looping = String::from_utf8(pdf("x", &[form.to_owned()])).unwrap();
    let looping = looping.replace("(x) Tj", "/X Do  ");
    let own_kids = String::from_utf8(pdf("x", &[])).unwrap().replace("/Kids [3 0 R]", "/Kids [2 0 R]");
    let mut cut = pdf("half of it", &[]);
    cut.truncate(cut.len() / 2);
    for (name, bytes) in [
        ("garbage.pdf", b"%PDF-1.7\n\x00\xff\xfe nothing".to_vec()),
        ("empty.pdf", Vec::new()),
        ("deep.pdf", pdf("x", &[deep])),
        ("looping.pdf", looping.into_bytes()),
        ("kids.pdf", own_kids.into_bytes()),
        ("cut.pdf", cut),
        ("binary.txt", vec![0; 4096]),
    ] {
        let kind = if name.ends_with("pdf") { "application/pdf" } else { "text/plain" };
        ann.upload(name, kind, bytes).await.expect(201);
    }
    let last = ann.upload("last.pdf", "application/pdf", pdf("reached", &[])).await.expect(201)["id"].clone();
    ann.say(channel, "and everything goes on").await;
    let begun = std::time::Instant::now();
    let failed = read(&ann).await;
    assert!(failed >= 3, "{failed} failed");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(found(&ann, "reached").await, [last.as_i64().unwrap()]);
    for name in ["garbage", "deep", "looping", "kids", "binary"] {
        assert_eq!(found(&ann, name).await.len(), 1, "{name}");
    }
    let scratch = app.data().join("cache").join("texts");
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0, "nothing is left lying about");
}

/// A server that is killed while files wait reads them when it is back.
#[tokio::test]
async fn files_that_wait_survive_a_crash() {
    for mut app in servers().await {
        let ann = app.user("ann").await;
        let names: Vec<_> = (0..6).map(|n| format!("walrus{n}")).collect();
        for name in &names {
            let bytes = pdf(&format!("about the {name}"), &[]);
            ann.upload("a.pdf", "application/pdf", bytes).await.expect(201);
        }
        app.kill().await;
        // What was begun is due again later; nobody wants to wait for that here.
        app.sql("UPDATE file_texts SET due_at = 0").await;
        app.restart().await;
        let ann = ann.at(&app.url);
        assert_eq!(read(&ann).await, 0);
        for name in &names {
            assert_eq!(found(&ann, name).await.len(), 1, "{name}");
        }
    }
}
