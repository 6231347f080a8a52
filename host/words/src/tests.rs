use proptest::prelude::*;

use super::*;

fn texts(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.text.as_str()).collect()
}

/// Whether a message with this text is found by that one.
fn finds(query: &str, text: &str) -> bool {
    let (query, is_prefix) = query.strip_suffix('*').map_or((query, false), |query| (query, true));
    !found_in(text, &[sought(query, is_prefix).unwrap()]).is_empty()
}

#[test]
fn words_are_folded_and_taken_apart() {
    let of = |text| texts(&words(text).words).join(" ");
    assert_eq!(of("Hello,  World!"), "hello world");
    assert_eq!(
        of("Crème Brûlée, ŁÓDŹ, Straße, Œuvre, İstanbul"),
        "creme brulee lodz strasse oeuvre istanbul"
    );
    assert_eq!(of("ΛΌΓΟΣ λόγος Ёлка Йод"), "λογοσ λογοσ елка иод");
    assert_eq!(of("10.0.0.1 a@b.org my_var e-mail"), "10 0 0 1 a b org my var e mail");
    assert_eq!(of("東京都 and 庁"), "東京 京都 都 and 庁");
    assert_eq!(of("ｶﾞｰﾃﾞﾝ Ｆｕｌｌ"), "ガー ーデ デン ン full");
    assert_eq!(of("한국어"), "한국 국어 어");
    assert_eq!(of("\u{1112}\u{1161}\u{11ab}"), "한", "as file names of a Mac have it");
    assert_eq!(of("C++ and C#, F#; notepad++"), "c++ and c# f# notepad++");
    assert_eq!(of("ship it 🎉👍🏽"), "ship it 🎉 👍");
    assert_eq!(of("नमस्ते दुनिया"), "नमस्ते दुनिया");
    assert_eq!(of("שָׁלוֹם مُحَمَّد"), "שלום محمد");
    assert_eq!(of(" \t\"'*()-:"), "");
}

#[test]
fn parts_stand_apart() {
    let of = |text| texts(&words(text).parts).join(" ");
    assert_eq!(of("myVarName HTTPServer utf8 iPhone v2"), "my var name http server utf 8 i phone v 2");
    assert_eq!(of("#release @Anna x#y a@b"), "#release @anna");
    assert_eq!(of("C++"), "c");
    assert_eq!(of("da39a3ee5e6b4b0d3255bfef95601890afd80709"), "", "a hash has no humps");
}

/// What other teams' search is known to miss.
#[test]
fn what_is_hard_to_find() {
    for (query, text) in [
        ("京都", "東京都に行く"),
        ("東京都", "東京都に行く"),
        ("都", "東京都"),
        ("東", "東京都"),
        ("京", "東京都"),
        ("行", "東京都に行く"),
        ("会議室", "明日の会議室を予約"),
        ("会议", "明天下午有会议"),
        ("국어", "한국어를 배워요"),
        ("สวัสดี", "พูดสวัสดีครับ"),
        ("192.168.1.10", "ssh into 192.168.1.10 please"),
        ("192.168", "ssh into 192.168.1.10 please"),
        ("168", "ssh into 192.168.1.10 please"),
        ("192.16*", "ssh into 192.168.1.10 please"),
        ("fe80::1", "fe80::1%eth0 is link-local"),
        ("link-local", "fe80::1%eth0 is link-local"),
        ("local", "fe80::1%eth0 is link-local"),
        ("docker-compose", "run docker-compose up"),
        ("compose", "run docker-compose up"),
        ("anna.smith@example.org", "write to anna.smith@example.org."),
        ("example.org", "write to anna.smith@example.org."),
        ("anna.smith", "write to anna.smith@example.org."),
        ("max_retry_count", "set max_retry_count=3"),
        ("retry", "set max_retry_count=3"),
        ("getUserById", "call getUserById(7)"),
        ("getuserbyid", "call getUserById(7)"),
        ("user", "call getUserById(7)"),
        ("std::vec", "use std::vec::Vec;"),
        ("C++", "we write C++ here"),
        ("c++", "C++"),
        ("c", "we write C++ here"),
        ("C#", "and C#."),
        (".NET", "on .NET"),
        ("#release", "see #release, soon"),
        ("release", "see #release, soon"),
        ("#rel*", "see #release, soon"),
        ("@anna", "ask @Anna"),
        ("anna", "ask @Anna"),
        ("cafe", "Café"),
        ("CAFÉ", "a cafe\u{301}"),
        ("naïve", "naive"),
        ("strasse", "Straße"),
        ("https://example.org/a/b?x=1", "at https://example.org/a/b?x=1#top"),
        ("/a/b", "at https://example.org/a/b?x=1#top"),
        ("1.95.0", "rustc 1.95.0-nightly"),
        ("PB-1234", "fixes PB-1234"),
        ("1234", "fixes PB-1234"),
        ("don't", "don’t"),
        ("avion", "l'avion"),
        ("🎉", "done 🎉"),
        ("deploy*", "deployments failed"),
        ("iphone", "my iPhone broke"),
        ("phone", "my iPhone broke"),
        ("my iphone broke", "my iPhone broke"),
        ("東京 tower", "the 東京 tower"),
    ] {
        assert!(finds(query, text), "{query:?} does not find {text:?}");
    }
    for (query, text) in [
        ("10.0.0.1", "110.0.0.1 and 10.0.0.11"),
        ("C#", "we write C++"),
        ("#release", "the release"),
        ("@anna", "anna"),
        ("京東", "東京都"),
        ("retry max", "max_retry_count"),
        ("deploy", "deployments failed"),
        ("name ask", "myVarName, ask"),
    ] {
        assert!(!finds(query, text), "{query:?} finds {text:?}");
    }
}

#[test]
fn places() {
    let marked = |query: &str, text: &str| {
        let sought: Vec<_> = query.split(' ').filter_map(|word| sought(word, false)).collect();
        let mut marked = String::new();
        let mut at = 0;
        for range in found_in(text, &sought) {
            marked.push_str(&format!("{}[{}]", &text[at..range.start], &text[range.clone()]));
            at = range.end;
        }
        marked + &text[at..]
    };
    assert_eq!(marked("cafe b", "Cafe\u{301}, b; a-b"), "[Cafe\u{301}], [b]; a-[b]");
    assert_eq!(marked("京", "東京都"), "東[京]都");
    assert_eq!(marked("東京都", "「東京都庁」"), "「[東京都]庁」");
    assert_eq!(marked("user", "getUserById"), "get[User]ById");
    assert_eq!(marked("#tag", "a #tag"), "a [#tag]");
    assert_eq!(marked("10.0.0.1", "to 10.0.0.1."), "to [10.0.0.1].");
}

#[test]
fn links() {
    for text in ["http://a", "see HTTPS://example.org", "(https://[::1]/)"] {
        assert!(words(text).has_link, "{text}");
    }
    for text in ["http://", "https:// x", "ftp://a", "://a", "a"] {
        assert!(!words(text).has_link, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_lie_in_the_text_and_hold_nothing_that_separates(text in "\\PC{0,60}|[a-zA-Z0-9#@+_.東京都庁한국กขा ़\u{301}-]{0,60}") {
        let found = words(&text);
        let mut before = 0;
        for token in &found.words {
            prop_assert!(token.start >= before && token.start < token.end);
            before = token.start;
        }
        for token in found.words.iter().chain(&found.parts) {
            prop_assert!(text.get(token.start..token.end).is_some());
            let bad = |c: char| c.is_whitespace() || c.is_control() || "\"'\\:*()&|!<>^{}".contains(c);
            prop_assert!(!token.text.is_empty() && !token.text.contains(bad), "{:?}", token.text);
        }
    }

    #[test]
    fn whatever_stands_between_spaces_is_found(text in "(\\PC{0,12} ){0,5}\\PC{0,12}|[a-zA-Z0-9#@+_.東京都庁한국กขé\u{301} -]{0,60}") {
        for chunk in text.split_whitespace() {
            if let Some(sought) = sought(chunk, false) {
                prop_assert!(!found_in(&text, &[sought]).is_empty(), "{chunk:?} in {text:?}");
            }
        }
    }

    #[test]
    fn the_beginning_of_a_word_is_found_as_a_prefix(word in "[a-zA-Zàéößñ]{2,12}", cut in 1..12_usize) {
        let start: String = word.chars().take(cut).collect();
        prop_assert!(!found_in(&word, &[sought(&start, true).unwrap()]).is_empty());
    }
}
