//! `retrieval`: of facts among made-up conversations, how many are among the first ten messages that `/api/v1/ai/context` finds for a
//! question about them: by words alone, by vectors alone (the host's own embedder), and by both. Nothing is timed.
//!
//! Each fact is about one of some projects, and so are other facts and plenty of small talk: neither the project nor the topic alone
//! finds it. Questions come in kinds: with the words of the fact, with other forms and misspellings of them, with mostly other words, and
//! about answers that don't repeat what they answer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    load::{
        Result,
        http::{Connection, request},
        patchbay::Patchbay,
    },
    table::{Figure, Table},
};

/// Messages of the made-up deployment, beside the facts and the talk around them.
const MESSAGES: usize = 5_000;
/// How many messages count.
const AT: usize = 10;
/// How long the index may take, in looks of half a second.
const LOOKS: usize = 600;

const PROJECTS: [&str; 16] = [
    "Falcon", "Harbor", "Juniper", "Kestrel", "Lagoon", "Marble", "Nimbus", "Orchid", "Pelican", "Quartz",
    "Raven", "Saffron", "Tundra", "Umbra", "Velvet", "Willow",
];
const VALUES: [&str; 16] = [
    "Ada", "Boris", "Clara", "Dario", "Edda", "Fynn", "Greta", "Henk", "Ilse", "Jarek", "Kaja", "Luca",
    "Mira", "Nils", "Olga", "Pavel",
];
/// What is said of a project all the time.
const TALK: [&str; 8] = [
    "did you see the news about {p}?",
    "{p} looks fine to me today",
    "who is in the {p} meeting?",
    "I am stuck with {p} again, any hint?",
    "thanks for the help with {p} yesterday",
    "let us talk about {p} after lunch",
    "the next release of {p} is close",
    "can somebody look at the pull request of {p}?",
];

/// What is said, in one message or in two of which the second is the answer, and what is asked.
struct Topic {
    kind: &'static str,
    said: &'static [&'static str],
    asked: &'static str,
}

const TOPICS: [Topic; 12] = [
    Topic {
        kind: "same words",
        said: &["The staging database of {p} runs on the machine of {x}"],
        asked: "on which machine does the staging database of {p} run?",
    },
    Topic {
        kind: "same words",
        said: &["{x} writes the release notes of {p} every Friday"],
        asked: "who writes the release notes of {p}?",
    },
    Topic {
        kind: "same words",
        said: &["The budget of {p} for next year is signed by {x}"],
        asked: "who signed the budget of {p} for next year?",
    },
    Topic {
        kind: "other forms",
        said: &["{x} is reviewing the translations of {p} into Spanish"],
        asked: "who reviews the Spanish translation for {p}?",
    },
    Topic {
        kind: "other forms",
        said: &["Deployments of {p} are scheduled by {x}"],
        asked: "{p} deployment schedule",
    },
    Topic {
        kind: "other forms",
        said: &["The certificate of {p} expires soon, {x} renews it"],
        asked: "certficate of {p} expiry and renewal",
    },
    Topic {
        kind: "other words",
        said: &["Invoices that concern {p} go to {x}"],
        asked: "where do I send the bills for {p}?",
    },
    Topic {
        kind: "other words",
        said: &["Nobody but {x} may merge into the main branch of {p}"],
        asked: "who has the permission to accept changes in {p}?",
    },
    Topic {
        kind: "other words",
        said: &["{x} is away while {p} is audited"],
        asked: "who is on holiday during the inspection of {p}?",
    },
    Topic {
        kind: "answers",
        said: &["Who takes over the pager of {p} next week?", "I will, says {x}"],
        asked: "who has the pager of {p} next week?",
    },
    Topic {
        kind: "answers",
        said: &["Do we keep the old importer of {p}?", "No, {x} throws it away"],
        asked: "is the old importer of {p} kept?",
    },
    Topic {
        kind: "answers",
        said: &["Where is the key of the {p} lab?", "In the drawer below the desk of {x}"],
        asked: "where is the key of the {p} lab?",
    },
];

const KINDS: [&str; 4] = ["same words", "other forms", "other words", "answers"];
const WAYS: [&str; 3] = ["words", "vectors", "both"];

struct Question {
    kind: &'static str,
    asked: String,
    answer: i64,
}

pub fn run() -> Result<()> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(measure())
}

async fn measure() -> Result<()> {
    let server = Patchbay::start_seeded(MESSAGES)?;
    let mut connection = Connection::open(&server.address).await?;
    let login = json!({ "username": "anna", "password": "correct horse" }).to_string();
    let tokens = connection.send(&request("POST", "/api/auth/login", "", &login)).await?.json()?;
    let token = tokens.get("access_token").and_then(Value::as_str).ok_or("no token")?.to_owned();
    let questions = tell(&mut connection, &token).await?;
    index(&mut connection, &token).await?;
    let mut table = Table::new(
        "retrieval",
        "share of questions whose answer is among the first ten messages (recall@10)",
    );
    for way in WAYS {
        let mut found = Vec::new();
        for question in &questions {
            let q = question.asked.replace('?', "").replace(' ', "+");
            let path = format!("/api/v1/ai/context?by={way}&limit={AT}&q={q}");
            let page = connection.send(&request("GET", &path, &token, "")).await?.json()?;
            let items = page.get("items").and_then(Value::as_array).ok_or("no items")?;
            let id = |item: &Value| item.pointer("/message/id").and_then(Value::as_i64);
            found.push((question.kind, items.iter().any(|item| id(item) == Some(question.answer))));
        }
        let share = |of: &dyn Fn(&str) -> bool| {
            let these: Vec<_> = found.iter().filter(|(kind, _)| of(kind)).collect();
            these.iter().filter(|(_, is_found)| *is_found).count() as f64 / these.len().max(1) as f64
        };
        for kind in KINDS {
            table.add(Figure::new(format!("{way}: {kind}"), vec![share(&|of| of == kind)]));
        }
        table.add(Figure::new(way, vec![share(&|_| true)]));
    }
    table.publish()
}

/// Tells all facts, with talk between them; what can be asked then.
async fn tell(connection: &mut Connection, token: &str) -> Result<Vec<Question>> {
    let (mut questions, mut channels) = (Vec::new(), Vec::new());
    for n in 0..4 {
        let body = json!({ "name": format!("projects{n}") }).to_string();
        let made = connection.send(&request("POST", "/api/channels", token, &body)).await?.json()?;
        channels.push(made.get("id").and_then(Value::as_i64).ok_or("no channel")?);
    }
    let mut talk = TALK.iter().cycle();
    for (t, topic) in TOPICS.iter().enumerate() {
        for (p, project) in PROJECTS.iter().enumerate() {
            let value = VALUES.get((p * 5 + t * 3) % VALUES.len()).copied().unwrap_or_default();
            let filled = |text: &str| text.replace("{p}", project).replace("{x}", value);
            let channel = channels.get((p + t) % channels.len()).copied().unwrap_or_default();
            for _ in 0..2 {
                say(connection, token, channel, &filled(talk.next().copied().unwrap_or_default())).await?;
            }
            let mut answer = 0;
            for said in topic.said {
                answer = say(connection, token, channel, &filled(said)).await?;
            }
            questions.push(Question { kind: topic.kind, asked: filled(topic.asked), answer });
        }
    }
    Ok(questions)
}

async fn say(connection: &mut Connection, token: &str, channel: i64, content: &str) -> Result<i64> {
    let body = json!({ "content": content }).to_string();
    let path = format!("/api/channels/{channel}/messages");
    let posted = connection.send(&request("POST", &path, token, &body)).await?.json()?;
    Ok(posted.get("id").and_then(Value::as_i64).ok_or("no message")?)
}

/// Goes through all messages, and waits until that is done and nothing else waits.
async fn index(connection: &mut Connection, token: &str) -> Result<()> {
    connection.send(&request("POST", "/api/plugins/ai/reindex", token, "")).await?.json()?;
    for _ in 0..LOOKS {
        let status = connection.send(&request("GET", "/api/plugins/ai/status", token, "")).await?.json()?;
        let state = status.pointer("/backfill/state").and_then(Value::as_str);
        if state == Some("complete") && status.get("waiting") == Some(&json!(0)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err("the index of meaning is not complete after five minutes".into())
}
