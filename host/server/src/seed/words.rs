//! What made-up people are called and what they say, in several scripts.
//!
//! Owns: word lists and sentences. Must not: know where they go.

use fastrand::Rng;

const FIRST: [&str; 40] = [
    "Anna", "Ben", "Carla", "David", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena",
    "Mateo", "Nadia", "Oskar", "Priya", "Quinn", "Rosa", "Samir", "Tess", "Umar", "Vera", "Wei", "Ximena",
    "Yuki", "Zoe", "Aarav", "Björn", "Chloé", "Dmitri", "Eszter", "Fatima", "Gustav", "Haruto", "Ivana",
    "João", "Katya", "Liam", "Mei", "Noor",
];
const LAST: [&str; 40] = [
    "Adeyemi",
    "Berg",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Haddad",
    "Ivanova",
    "Jansen",
    "Kim",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Quispe",
    "Rossi",
    "Schmidt",
    "Tanaka",
    "Ueda",
    "Varga",
    "Wagner",
    "Xu",
    "Yılmaz",
    "Zhang",
    "Almeida",
    "Brandt",
    "Chen",
    "Díaz",
    "Eze",
    "Fontaine",
    "Gupta",
    "Horvat",
    "Ito",
    "Jovanović",
    "Kaya",
    "Lopes",
    "Meyer",
    "Nowak",
];
const TOPICS: [(&str, &str); 24] = [
    ("general", "What concerns everyone"),
    ("random", "Everything else, cats included"),
    ("backend", "The server, its database and its queues"),
    ("frontend", "Web and desktop clients"),
    ("mobile", "iOS and Android"),
    ("design", "Mockups, icons, words"),
    ("releases", "What ships when"),
    ("incidents", "Only while something burns"),
    ("hiring", "Candidates and interviews"),
    ("support", "Questions of customers"),
    ("sales", "Leads and contracts"),
    ("finance", "Invoices and budgets"),
    ("reading", "Papers and articles"),
    ("music", "What is playing"),
    ("lunch", "Where and when"),
    ("travel", "Trips and tickets"),
    ("data", "Reports, models, pipelines"),
    ("security", "Advisories and reviews"),
    ("docs", "Manuals and examples"),
    ("standup", "Yesterday, today, in the way"),
    ("tokyo", "東京オフィス"),
    ("berlin", "Büro Berlin"),
    ("lisboa", "Escritório de Lisboa"),
    ("games", "After six"),
];
const SUBJECTS: [&str; 28] = [
    "the build",
    "the release",
    "the new API",
    "the login page",
    "the database",
    "the migration",
    "the invoice",
    "the meeting",
    "the deploy script",
    "the dashboard",
    "the customer",
    "the cache",
    "the search index",
    "the roadmap",
    "the contract",
    "the test suite",
    "the mobile app",
    "the report",
    "the upload form",
    "the queue",
    "the certificate",
    "the backup",
    "the prototype",
    "the budget",
    "the onboarding guide",
    "the plugin",
    "the load balancer",
    "the logo",
];
const VERBS: [&str; 24] = [
    "is ready",
    "fails again",
    "needs a review",
    "looks good",
    "is slower than last week",
    "is green now",
    "moved to Thursday",
    "can wait",
    "is blocked",
    "was approved",
    "times out",
    "is out of date",
    "has been merged",
    "needs more tests",
    "breaks on Safari",
    "costs too much",
    "is done",
    "went live",
    "was rolled back",
    "is still a draft",
    "has a typo",
    "is on my list",
    "surprised me",
    "works on my machine",
];
const OPENERS: [&str; 16] = [
    "",
    "",
    "",
    "FYI: ",
    "Hm, ",
    "Good news: ",
    "Question: ",
    "Heads up, ",
    "I think ",
    "So ",
    "Just saw that ",
    "Does anybody know why ",
    "Reminder: ",
    "Wow, ",
    "Sadly ",
    "Update: ",
];
const CLOSERS: [&str; 18] = [
    ".",
    ".",
    ".",
    "!",
    "?",
    " 🎉",
    " 👍",
    " 😅",
    ". Can somebody have a look?",
    ". Thanks!",
    ", see you tomorrow.",
    ". I'll write it up.",
    ". Details in the ticket.",
    " — more after lunch.",
    ". Any objections?",
    " 🚀",
    ". It's on me.",
    " 🤔",
];
const ELSEWHERE: [&str; 26] = [
    "おはようございます。今日のリリースは午後三時です。",
    "検索の結果が遅いので、索引を作り直しました。",
    "会議は東京オフィスで行います。",
    "数据库迁移已经完成，请检查一下。",
    "明天下午两点开会，大家有空吗？",
    "新的接口文档已经更新了。",
    "빌드가 또 실패했어요. 로그를 확인해 주세요.",
    "점심 뭐 먹을까요? 🍜",
    "Сборка снова зелёная, можно выпускать.",
    "Кто сегодня дежурит?",
    "Το νέο σχέδιο είναι έτοιμο.",
    "النسخة الجديدة جاهزة للاختبار.",
    "मीटिंग कल सुबह दस बजे है।",
    "Die Migration ist durch, bitte prüft die Zahlen.",
    "Schöne Grüße aus Köln! Größere Änderungen kommen später.",
    "La réunion est reportée à jeudi, désolé pour le décalage.",
    "Où en est la facture du mois dernier ?",
    "¿Alguien puede revisar esto mañana? ¡Gracias!",
    "O relatório está pronto, faltam só os gráficos.",
    "Toplantı saat üçte, İstanbul ofisinde.",
    "Gdzie jest nowa wersja dokumentu?",
    "Việc triển khai đã xong.",
    "המערכת חזרה לעבוד.",
    "Ευχαριστώ πολύ! 🙏",
    "ประชุมพรุ่งนี้สิบโมงเช้า",
    "Takk for sist! Vi ses på fredag 🏔️",
];
const CODE: [&str; 8] = [
    "```rust\nlet total: u64 = rows.iter().map(|row| row.size).sum();\n```",
    "```sql\nSELECT channel_id, count(*) FROM messages GROUP BY channel_id;\n```",
    "```\nerror: connection refused (os error 111)\n```",
    "try `cargo test --workspace` first",
    "```python\nfor page in pages:\n    print(page[\"title\"])\n```",
    "`git rebase -i HEAD~3` and then force-push",
    "```json\n{\"status\": \"degraded\", \"since\": \"09:41\"}\n```",
    "set `RUST_LOG=debug` and look for `timeout`",
];
const LINKS: [&str; 8] = [
    "https://example.org/tickets/",
    "https://docs.example.org/guide/chapter-",
    "https://example.com/dashboards/",
    "https://status.example.net/incidents/",
    "https://git.example.org/patchbay/pulls/",
    "https://wiki.example.org/p/",
    "https://example.org/blog/",
    "https://files.example.com/share/",
];
/// By how often they are given.
const EMOJI: [&str; 16] =
    ["👍", "❤️", "😂", "🎉", "👀", "🙏", "🚀", "😮", "✅", "🔥", "👏", "😢", "🤔", "💯", "👋🏽", "🇯🇵"];

/// The full name of the `n`th person.
pub fn full_name(n: usize) -> String {
    // 7 and 40 have no common divisor: each of the 1,600 pairs comes up once.
    let first = pick_at(&FIRST, n % FIRST.len());
    let last = pick_at(&LAST, (n * 7 + n / FIRST.len()) % LAST.len());
    format!("{first} {last}")
}

/// The name under which the `n`th person logs in: plain letters, and different from all others.
pub fn username(n: usize) -> String {
    let first: String = pick_at(&FIRST, n % FIRST.len()).chars().filter(char::is_ascii).collect();
    match n / FIRST.len() {
        0 => first.to_lowercase(),
        round => format!("{}{}", first.to_lowercase(), round + 1),
    }
}

/// Name and purpose of the `n`th channel.
pub fn channel(n: usize) -> (String, String) {
    let (name, purpose) = TOPICS.get(n % TOPICS.len()).copied().unwrap_or_default();
    match n / TOPICS.len() {
        0 => (name.to_owned(), purpose.to_owned()),
        round => (format!("{name}-{}", round + 1), format!("{purpose}, group {}", round + 1)),
    }
}

/// Something that somebody says.
pub fn sentence(rng: &mut Rng) -> String {
    match rng.u8(..100) {
        0..12 => pick(rng, &ELSEWHERE).to_owned(),
        12..16 => pick(rng, &CODE).to_owned(),
        16..22 => format!("{} {}{}", statement(rng), pick(rng, &LINKS), rng.u16(100..9999)),
        22..27 => pick(rng, &EMOJI).to_owned(),
        27..40 => format!("{} {}", statement(rng), statement(rng)),
        _ => statement(rng),
    }
}

/// What an edit adds.
pub fn correction(rng: &mut Rng) -> String {
    format!(" (edit: {}{})", pick(rng, &SUBJECTS), pick(rng, &CLOSERS))
}

/// Some more often than others.
pub fn emoji(rng: &mut Rng) -> &'static str {
    pick_at(&EMOJI, zipf(rng, EMOJI.len()))
}

/// One of `0..n`, the first ones more often: the `k`th about in proportion to 1/k.
pub fn zipf(rng: &mut Rng, n: usize) -> usize {
    // The inverse of the logarithm that sums up 1/k.
    let most = ((n + 1) as f64).ln();
    ((rng.f64() * most).exp() as usize).saturating_sub(1).min(n.saturating_sub(1))
}

fn statement(rng: &mut Rng) -> String {
    let (opener, subject) = (pick(rng, &OPENERS), pick(rng, &SUBJECTS));
    let text = format!("{opener}{subject} {}{}", pick(rng, &VERBS), pick(rng, &CLOSERS));
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn pick(rng: &mut Rng, from: &[&'static str]) -> &'static str {
    pick_at(from, rng.usize(..from.len()))
}

fn pick_at(from: &[&'static str], at: usize) -> &'static str {
    from.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_different_and_good() {
        let names: HashSet<_> = (0..5000).map(username).collect();
        assert_eq!(names.len(), 5000);
        for name in names {
            assert_eq!(patchbay_core::text::check_username(&name), Ok(()), "{name}");
        }
        assert_eq!((0..1600).map(full_name).collect::<HashSet<_>>().len(), 1600);
        assert_eq!((0..1000).map(|n| channel(n).0).collect::<HashSet<_>>().len(), 1000);
    }

    #[test]
    fn the_first_is_the_most_frequent() {
        let mut rng = Rng::with_seed(1);
        let mut counts = [0; 16];
        (0..10_000).for_each(|_| counts[zipf(&mut rng, 16)] += 1);
        assert!(counts[0] > 2 * counts[4] && counts[4] > counts[15] && counts[15] > 0, "{counts:?}");
    }
}
