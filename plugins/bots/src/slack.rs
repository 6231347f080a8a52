//! The payload of Slack's incoming webhooks, so that what sends there can send here: `text`, `blocks`, `attachments`.
//!
//! Owns: what becomes of a payload as Markdown. Must not: post it.
//! Source: Slack's documentation of incoming webhooks, Block Kit and mrkdwn.

use patchbay_sdk::{Request, input};
use serde_json::Value;

/// Blocks and attachments that are looked at.
const MOST: usize = 100;

/// The payload of a request: a JSON body, or a form with JSON in its field `payload`.
pub fn payload(request: &Request) -> Result<Value, String> {
    let header = |name| request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let is_form =
        header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let json = if is_form {
        let field = form_urlencoded::parse(&request.body).find(|(name, _)| name == "payload");
        field.ok_or("The form has no field payload.")?.1.into_owned().into_bytes()
    } else if request.body.is_empty() {
        // As Slack reads it.
        input::query(request, "payload").unwrap_or_default().as_bytes().to_vec()
    } else {
        request.body.clone()
    };
    let payload: Value =
        serde_json::from_slice(&json).map_err(|error| format!("The payload is no JSON: {error}."))?;
    if payload.is_object() { Ok(payload) } else { Err("The payload is no JSON object.".to_owned()) }
}

/// What it says, as Markdown.
pub fn text(payload: &Value) -> String {
    let mut paragraphs = Vec::new();
    let blocks = list(payload, "blocks");
    if blocks.is_empty() {
        paragraphs.extend(string(payload, "text").map(markdown));
    }
    paragraphs.extend(blocks.iter().filter_map(block));
    paragraphs.extend(list(payload, "attachments").iter().map(attachment));
    paragraphs.retain(|paragraph| !paragraph.trim().is_empty());
    if paragraphs.is_empty() {
        // Blocks that mean nothing here: `text` is there for that.
        paragraphs.extend(string(payload, "text").map(markdown));
    }
    paragraphs.join("\n\n")
}

/// The text in pieces of so many characters, broken between lines where that can be.
pub fn parts(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while let Some((end, _)) = rest.char_indices().nth(most) {
        let piece = rest.get(..end).unwrap_or(rest);
        let at = piece.rfind('\n').filter(|at| *at > 0).unwrap_or(end);
        parts.push(rest.get(..at).unwrap_or(rest).trim_end());
        rest = rest.get(at..).unwrap_or_default().trim_start();
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    let all = value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.get(..MOST).unwrap_or(all)
}

fn string<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A text object, or a text.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(markdown(text)),
        Value::Object(_) => {
            let text = string(value, "text")?;
            Some(if string(value, "type") == Some("plain_text") { text.to_owned() } else { markdown(text) })
        }
        _ => None,
    }
}

fn block(block: &Value) -> Option<String> {
    let field = |name| block.get(name).and_then(text_of);
    match string(block, "type")? {
        "header" => field("text").map(|text| format!("### {text}")),
        "divider" => Some("---".to_owned()),
        "image" => {
            let alt = string(block, "alt_text").unwrap_or("image");
            Some(format!(
                "{}[{alt}]({})",
                field("title").map_or(String::new(), |t| t + "\n"),
                string(block, "image_url")?
            ))
        }
        "context" | "actions" => {
            let parts: Vec<_> = list(block, "elements").iter().filter_map(element).collect();
            Some(parts.join(" · "))
        }
        "rich_text" => {
            let parts: Vec<_> = list(block, "elements").iter().filter_map(|part| rich(part, 0)).collect();
            Some(parts.join("\n"))
        }
        // A section, or what came after this was written, if it has a text.
        _ => {
            let fields = list(block, "fields").iter().filter_map(text_of);
            let parts: Vec<_> = field("text").into_iter().chain(fields).collect();
            let link = block.get("accessory").and_then(element);
            Some(parts.into_iter().chain(link).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// Of a context or of actions: a text, an image, a button that leads somewhere.
fn element(element: &Value) -> Option<String> {
    match string(element, "type")? {
        "image" => Some(format!("[{}]({})", string(element, "alt_text")?, string(element, "image_url")?)),
        "button" => {
            Some(format!("[{}]({})", element.get("text").and_then(text_of)?, string(element, "url")?))
        }
        _ => text_of(element),
    }
}

/// Rich text, as deep as Slack nests it.
fn rich(part: &Value, depth: usize) -> Option<String> {
    if depth > 4 {
        return None;
    }
    let inner = |separator: &str| {
        let parts: Vec<_> = list(part, "elements").iter().filter_map(|part| rich(part, depth + 1)).collect();
        parts.join(separator)
    };
    let styled = |text: &str| {
        let is = |name| part.pointer(&format!("/style/{name}")) == Some(&Value::Bool(true));
        let mark = |text: String, is: bool, mark: &str| if is { format!("{mark}{text}{mark}") } else { text };
        let text = mark(text.to_owned(), is("code"), "`");
        let text = mark(text, is("italic"), "_");
        let text = mark(text, is("bold"), "**");
        mark(text, is("strike"), "~~")
    };
    Some(match string(part, "type")? {
        "text" => styled(string(part, "text")?),
        "link" => {
            let url = string(part, "url")?;
            string(part, "text").map_or_else(|| url.to_owned(), |text| format!("[{text}]({url})"))
        }
        "emoji" => format!(":{}:", string(part, "name")?),
        "user" => format!("@{}", string(part, "user_id")?),
        "channel" => format!("#{}", string(part, "channel_id")?),
        "broadcast" => format!("@{}", string(part, "range")?),
        "rich_text_preformatted" => format!("```\n{}\n```", inner("")),
        "rich_text_quote" => inner("").lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n"),
        "rich_text_list" => {
            let items = list(part, "elements").iter().filter_map(|part| rich(part, depth + 1));
            items.map(|item| format!("- {item}")).collect::<Vec<_>>().join("\n")
        }
        _ => inner(""),
    })
}

/// The older form: still what Alertmanager, Grafana and most scripts send.
fn attachment(attachment: &Value) -> String {
    let field = |name| string(attachment, name).map(markdown);
    let link = |text: Option<String>, url: &str| match (text, string(attachment, url)) {
        (Some(text), Some(url)) => Some(format!("[{text}]({url})")),
        (text, _) => text,
    };
    let title = link(field("title"), "title_link").map(|title| format!("**{title}**"));
    let fields = list(attachment, "fields").iter().filter_map(|field| {
        let value = string(field, "value").map(markdown)?;
        Some(string(field, "title").map_or_else(|| value.clone(), |title| format!("**{title}**: {value}")))
    });
    let fields = fields.collect::<Vec<_>>().join("\n");
    let blocks = list(attachment, "blocks").iter().filter_map(block).collect::<Vec<_>>().join("\n\n");
    let buttons = list(attachment, "actions")
        .iter()
        .filter_map(|action| Some(format!("[{}]({})", string(action, "text")?, string(action, "url")?)));
    let buttons = buttons.collect::<Vec<_>>().join(" · ");
    let parts = [
        field("pretext"),
        link(field("author_name"), "author_link"),
        title,
        field("text"),
        Some(fields),
        Some(blocks),
        Some(buttons),
        string(attachment, "image_url").map(str::to_owned),
        field("footer"),
    ];
    let said: Vec<_> = parts.into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
    if said.is_empty() { field("fallback").unwrap_or_default() } else { said.join("\n") }
}

/// Slack's markup as Markdown: `<url|label>`, `*bold*`, `~struck~`, and its three escapes. Code is left as it is.
fn markdown(text: &str) -> String {
    let mut markdown = String::with_capacity(text.len());
    for (nth, piece) in text.split('`').enumerate() {
        if nth > 0 {
            markdown.push('`');
        }
        // Between an odd and an even backtick is code, between three as well.
        if nth % 2 == 1 {
            markdown.push_str(&unescape(piece))
        } else {
            markdown.push_str(&marks(&links(piece)))
        }
    }
    markdown
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn links(text: &str) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((inside, after)) = after.split_once('>') else { break };
        done.push_str(&unescape(before));
        let (target, label) =
            inside.split_once('|').map_or((inside, None), |(target, label)| (target, Some(label)));
        let (target, label) = (unescape(target), label.map(unescape));
        match (target.chars().next(), label) {
            (Some('!'), label) => {
                let name = target.trim_start_matches('!').split('^').next().unwrap_or_default().to_owned();
                done.push_str(&label.unwrap_or(format!("@{name}")));
            }
            (Some(mark @ ('@' | '#')), label) => {
                done.push(mark);
                done.push_str(&label.unwrap_or(target.chars().skip(1).collect()));
            }
            (_, Some(label)) => done.push_str(&format!("[{label}]({target})")),
            (_, None) => done.push_str(&target),
        }
        rest = after;
    }
    done.push_str(&unescape(rest));
    done
}

/// `*bold*` and `~struck~`, where the marks stand at the edges of words.
fn marks(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = |n: usize| characters.get(n).copied();
    let mut done = String::with_capacity(text.len());
    let mut open: Option<char> = None;
    for (n, &character) in characters.iter().enumerate() {
        let before = n.checked_sub(1).and_then(at);
        let after = at(n + 1);
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        let is_text = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        let is_mark = matches!(character, '*' | '~');
        let closes = |n: usize| {
            let ahead = characters.get(n + 1..).unwrap_or_default();
            ahead.iter().take_while(|c| **c != '\n').any(|c| *c == character)
        };
        let opens_here = is_mark
            && open.is_none()
            && is_edge(before)
            && is_text(after)
            && after != Some(character)
            && closes(n);
        let closes_here = is_mark && open == Some(character) && is_text(before) && is_edge(after);
        done.push(character);
        if opens_here || closes_here {
            done.push(character);
            open = if opens_here { Some(character) } else { None };
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn slacks_markup_becomes_markdown() {
        for (slack, expected) in [
            ("plain", "plain"),
            ("see <https://a.example/x?a=1&amp;b=2|the page>", "see [the page](https://a.example/x?a=1&b=2)"),
            ("<https://a.example>", "https://a.example"),
            ("*bold* and ~gone~, 2*3*4", "**bold** and ~~gone~~, 2*3*4"),
            ("*not bold", "*not bold"),
            ("a &lt;b&gt; &amp;amp;", "a <b> &amp;"),
            ("`*code* &lt;x&gt;` *x*", "`*code* <x>` **x**"),
            ("<!here> <@U1|ann> <#C1|general> <!date^1^{date}|today>", "@here @ann #general today"),
            ("a < b", "a < b"),
        ] {
            assert_eq!(markdown(slack), expected);
        }
    }

    #[test]
    fn what_alertmanager_sends() {
        let payload = json!({
            "channel": "#ops", "username": "Alertmanager",
            "attachments": [{
                "title": "[FIRING:1] HighLoad", "title_link": "http://alerts.example/#/alerts", "text": "load is *high*",
                "fallback": "[FIRING:1] HighLoad", "color": "danger", "mrkdwn_in": ["fallback", "pretext", "text"],
                "fields": [{ "title": "host", "value": "db1", "short": true }, { "title": "since", "value": "12:00" }],
            }],
        });
        assert_eq!(
            text(&payload),
            "**[[FIRING:1] HighLoad](http://alerts.example/#/alerts)**\nload is **high**\n**host**: db1\n**since**: 12:00"
        );
    }

    #[test]
    fn blocks() {
        let payload = json!({
            "text": "for notifications",
            "blocks": [
                { "type": "header", "text": { "type": "plain_text", "text": "Deploy *1*" } },
                { "type": "section", "text": { "type": "mrkdwn", "text": "*done*" }, "fields": [
                    { "type": "mrkdwn", "text": "a" }, { "type": "plain_text", "text": "b" }
                ] },
                { "type": "divider" },
                { "type": "actions", "elements": [
                    { "type": "button", "text": { "type": "plain_text", "text": "Open" }, "url": "https://a.example" }
                ] },
                { "type": "rich_text", "elements": [{ "type": "rich_text_section", "elements": [
                    { "type": "text", "text": "hi ", "style": { "bold": true } }, { "type": "emoji", "name": "tada" }
                ] }] },
                { "type": "something new" },
            ],
        });
        assert_eq!(
            text(&payload),
            "### Deploy *1*\n\n**done**\na\nb\n\n---\n\n[Open](https://a.example)\n\n**hi **:tada:"
        );
        assert_eq!(text(&json!({ "text": "x", "blocks": [{ "type": "call" }] })), "x");
        assert_eq!(text(&json!({})), "");
    }

    #[test]
    fn long_texts_are_broken_between_lines() {
        assert_eq!(parts("aaa\nbbb\nccc", 8), ["aaa\nbbb", "ccc"]);
        assert_eq!(parts("ééééé", 2), ["éé", "éé", "é"]);
        assert_eq!(parts(" \n ", 8), [] as [&str; 0]);
        assert_eq!(parts("a", 8), ["a"]);
    }
}
