//! Passages in which what was found is marked.
//!
//! Owns: HTML that can be shown as it is: everything is escaped but `<mark>`. Must not: know where the text comes from.

use patchbay_words::{Sought, found_in};

/// Most characters of a passage.
const LENGTH: usize = 240;
/// Of those, before the first mark.
const LEAD: usize = 60;

/// The passage of a text in which something was first found, or its beginning; none of what was found is marked there if it
/// stands elsewhere.
pub fn passage(text: &str, sought: &[Sought]) -> String {
    let found = found_in(text, sought);
    let first = found.first().map_or(0, |range| range.start);
    let start = back(text, first, LEAD);
    let end = text
        .get(start..)
        .unwrap_or_default()
        .char_indices()
        .nth(LENGTH)
        .map_or(text.len(), |(at, _)| start + at);
    let mut passage = String::new();
    if start > 0 {
        passage.push('…');
    }
    let mut at = start;
    for range in found.iter().filter(|range| range.end <= end) {
        escape(text.get(at..range.start).unwrap_or_default(), &mut passage);
        passage.push_str("<mark>");
        escape(text.get(range.start..range.end).unwrap_or_default(), &mut passage);
        passage.push_str("</mark>");
        at = range.end;
    }
    escape(text.get(at..end).unwrap_or_default(), &mut passage);
    if end < text.len() {
        passage.push('…');
    }
    passage
}

/// Whether anything that is looked for stands in a text.
pub fn is_found(text: &str, sought: &[Sought]) -> bool {
    !found_in(text, sought).is_empty()
}

/// At most `most` characters before a place, from the beginning of a word.
fn back(text: &str, from: usize, most: usize) -> usize {
    let before = text.get(..from).unwrap_or_default();
    let Some((cut, _)) = before.char_indices().rev().nth(most) else { return 0 };
    let kept = before.get(cut..).unwrap_or_default();
    kept.find(char::is_whitespace).map_or(cut, |space| {
        cut + space + kept.get(space..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
    })
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            c => into.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use patchbay_words::sought;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_and_nothing_else_is_html() {
        let of = |text: &str, query: &str| passage(text, &[sought(query, false).unwrap()]);
        assert_eq!(of("The Café <b>& co</b>", "cafe"), "The <mark>Café</mark> &lt;b&gt;&amp; co&lt;/b&gt;");
        assert_eq!(of("<script>", "script"), "&lt;<mark>script</mark>&gt;");
        assert_eq!(of("nothing here", "else"), "nothing here");
        let long = format!("{}needle {}", "some hay ".repeat(50), "and more ".repeat(50));
        let shown = of(&long, "needle");
        assert!(
            shown.starts_with("…") && shown.contains("hay <mark>needle</mark> and") && shown.ends_with('…'),
            "{shown}"
        );
        assert!(shown.chars().count() < LENGTH + 30);
    }

    proptest! {
        #[test]
        fn any_text_can_be_shown(text in "\\PC{0,80}|[a<&>\"東京 é]{0,400}", query in "[a-z東京é]{1,3}") {
            let shown = passage(&text, &sought(&query, true).into_iter().collect::<Vec<_>>());
            let bare = shown.replace("<mark>", "").replace("</mark>", "");
            prop_assert!(!bare.contains(['<', '>', '"']));
            prop_assert_eq!(shown.matches("<mark>").count(), shown.matches("</mark>").count());
        }
    }
}
