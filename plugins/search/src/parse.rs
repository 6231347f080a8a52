//! The query language: text in, items and faults with their places out.
//!
//! Owns: the grammar. Must not: know users, channels, dates or the host.
//!
//! ```text
//! query    = { [ "-" ] ( operator | phrase | word ) }, separated by white space
//! operator = name ":" ( phrase without "*" | word ), name one of from in has before after on is
//! phrase   = '"' anything but '"' '"' [ "*" ]
//! word     = characters without white space, [ "*" ]
//! ```
//!
//! A word with a colon whose beginning is no operator's name is a word (`http://…`, `std::vec`). A word without letters,
//! digits or symbols in it says nothing and is passed over.

use patchbay_sdk::answer::Place;

/// Most characters of a query.
pub const MAX_CHARS: usize = 2_000;

/// What an operator is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Who sent it.
    From,
    /// Where.
    In,
    /// What it has.
    Has,
    /// Before a day or a moment.
    Before,
    /// After a day or a moment.
    After,
    /// On a day.
    On,
    /// What it is.
    Is,
}

const OPERATORS: [(&str, Operator); 7] = [
    ("from", Operator::From),
    ("in", Operator::In),
    ("has", Operator::Has),
    ("before", Operator::Before),
    ("after", Operator::After),
    ("on", Operator::On),
    ("is", Operator::Is),
];

/// A part of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it says.
    pub what: What,
    /// Whether it must not hold.
    pub is_negated: bool,
    /// Where it is, sign and quotes included.
    pub place: Place,
}

/// What a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Words to be found, following each other.
    Words {
        /// As they were written, without quotes and star.
        text: String,
        /// The last word may go on.
        is_prefix: bool,
    },
    /// An operator.
    Operator {
        /// Which.
        operator: Operator,
        /// What was written behind it; not empty.
        value: String,
        /// Where the value is.
        value_place: Place,
    },
}

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// Stable snake_case.
    pub code: &'static str,
    /// A sentence for people, without a subject.
    pub message: String,
}

impl Fault {
    /// A fault at that place.
    pub fn new(place: Place, code: &'static str, message: impl Into<String>) -> Self {
        Self { place, code, message: message.into() }
    }
}

/// Reads a query.
///
/// # Errors
/// Everything that is wrong with it, in order.
pub fn parse(query: &str) -> Result<Vec<Item>, Vec<Fault>> {
    let chars: Vec<char> = query.chars().take(MAX_CHARS + 1).collect();
    if chars.len() > MAX_CHARS {
        let place = Place { offset: MAX_CHARS, length: 1 };
        let message = format!("may have at most {MAX_CHARS} characters");
        return Err(vec![Fault::new(place, "length", message)]);
    }
    let mut parser = Parser { chars, at: 0, items: Vec::new(), faults: Vec::new() };
    while parser.skip_space() {
        parser.item();
    }
    if parser.faults.is_empty() { Ok(parser.items) } else { Err(parser.faults) }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    items: Vec<Item>,
    faults: Vec<Fault>,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Whether there is anything behind the space.
    fn skip_space(&mut self) -> bool {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        self.peek().is_some()
    }

    fn since(&self, start: usize) -> Place {
        Place { offset: start, length: self.at - start }
    }

    fn text(&self, start: usize, end: usize) -> String {
        self.chars.get(start..end).unwrap_or_default().iter().collect()
    }

    fn fault(&mut self, start: usize, code: &'static str, message: impl Into<String>) {
        let fault = Fault::new(self.since(start), code, message);
        self.faults.push(fault);
    }

    /// One item; moves on by at least one character.
    fn item(&mut self) {
        let start = self.at;
        let is_negated = self.peek() == Some('-');
        if is_negated {
            self.at += 1;
        }
        let what = match self.operator() {
            Some(operator) => self.value(start, operator),
            None if self.peek() == Some('"') => self.quoted(start).map(|text| {
                let is_prefix = self.star();
                What::Words { text, is_prefix }
            }),
            None => Some(self.word()),
        };
        let says_nothing = |what: &What| matches!(what, What::Words { text, .. } if patchbay_words::sought(text, false).is_none());
        let place = self.since(start);
        self.items.extend(what.filter(|what| !says_nothing(what)).map(|what| Item {
            what,
            is_negated,
            place,
        }));
    }

    /// The operator whose name and colon come next, which are passed over.
    fn operator(&mut self) -> Option<Operator> {
        let (name, operator) = OPERATORS.into_iter().find(|(name, _)| {
            let length = name.len();
            let written = self.chars.get(self.at..self.at + length).unwrap_or_default();
            written.iter().collect::<String>().eq_ignore_ascii_case(name)
                && self.chars.get(self.at + length) == Some(&':')
        })?;
        self.at += name.len() + 1;
        Some(operator)
    }

    fn value(&mut self, start: usize, operator: Operator) -> Option<What> {
        let value_start = self.at;
        let value = if self.peek() == Some('"') {
            self.quoted(start)?
        } else {
            self.skip_to_space();
            self.text(value_start, self.at)
        };
        if value.trim().is_empty() {
            self.fault(start, "missing_value", missing(operator));
            return None;
        }
        let value_place = self.since(value_start);
        Some(What::Operator { operator, value: value.trim().to_owned(), value_place })
    }

    /// What stands between quotes; a fault if they are not closed.
    fn quoted(&mut self, start: usize) -> Option<String> {
        let open = self.at + 1;
        self.at = open;
        while self.peek().is_some_and(|c| c != '"') {
            self.at += 1;
        }
        if self.peek().is_none() {
            self.fault(start, "unclosed_quote", "has a quotation mark that is not closed");
            return None;
        }
        self.at += 1;
        Some(self.text(open, self.at - 1))
    }

    /// Whether a star comes next, which is passed over.
    fn star(&mut self) -> bool {
        let is_there = self.peek() == Some('*');
        if is_there {
            self.at += 1;
        }
        is_there
    }

    fn skip_to_space(&mut self) {
        while self.peek().is_some_and(|c| !c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> What {
        let start = self.at;
        self.skip_to_space();
        let text = self.text(start, self.at);
        match text.strip_suffix('*') {
            Some(begun) => What::Words { text: begun.to_owned(), is_prefix: true },
            None => What::Words { text, is_prefix: false },
        }
    }
}

fn missing(operator: Operator) -> &'static str {
    match operator {
        Operator::From => "needs a user behind from:",
        Operator::In => "needs a channel behind in:",
        Operator::Has => "needs file, link or reaction behind has:",
        Operator::Before => "needs a date behind before:",
        Operator::After => "needs a date behind after:",
        Operator::On => "needs a date behind on:",
        Operator::Is => "needs thread behind is:",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `[-]text[*]` or `[-]Operator=value`, each with its place.
    fn shown(query: &str) -> Vec<String> {
        let sign = |item: &Item| if item.is_negated { "-" } else { "" };
        let show = |item: &Item| {
            let Place { offset, length } = item.place;
            let what = match &item.what {
                What::Words { text, is_prefix } => format!("{text}{}", if *is_prefix { "*" } else { "" }),
                What::Operator { operator, value, value_place } => {
                    format!("{operator:?}={value}@{}+{}", value_place.offset, value_place.length)
                }
            };
            format!("{offset}+{length} {}{what}", sign(item))
        };
        parse(query).unwrap().iter().map(show).collect()
    }

    fn faults(query: &str) -> Vec<(usize, usize, &'static str)> {
        let faults = parse(query).unwrap_err();
        faults.into_iter().map(|fault| (fault.place.offset, fault.place.length, fault.code)).collect()
    }

    #[test]
    fn everything_that_can_be_said() {
        assert_eq!(shown("  deploy  failed "), ["2+6 deploy", "10+6 failed"]);
        assert_eq!(
            shown(r#""out of memory" -"a b"* depl* -x"#),
            ["0+15 out of memory", "16+7 -a b*", "24+5 depl*", "30+2 -x"]
        );
        assert_eq!(
            shown(r#"from:anna -in:#ops FROM:"Anna B" has:link on:2026-01-31"#),
            [
                "0+9 From=anna@5+4",
                "10+8 -In=#ops@14+4",
                "19+13 From=Anna B@24+8",
                "33+8 Has=link@37+4",
                "42+13 On=2026-01-31@45+10"
            ]
        );
        assert_eq!(shown("é from:x"), ["0+1 é", "2+6 From=x@7+1"], "places are in characters");
    }

    #[test]
    fn what_only_looks_like_an_operator() {
        assert_eq!(
            shown("http://a std::vec e-mail 12:30 info:"),
            ["0+8 http://a", "9+8 std::vec", "18+6 e-mail", "25+5 12:30", "31+5 info:"]
        );
        assert_eq!(shown(r#"a"b - * -- ?! ( a"#), ["0+3 a\"b", "16+1 a"], "and what says nothing");
        assert_eq!(shown(r#""""#), [] as [&str; 0]);
    }

    #[test]
    fn faults_have_places() {
        assert_eq!(faults("deploy from:"), [(7, 5, "missing_value")]);
        assert_eq!(faults("from: anna"), [(0, 5, "missing_value")]);
        assert_eq!(
            faults(r#"from:"" -has: "open"#),
            [(0, 7, "missing_value"), (8, 5, "missing_value"), (14, 5, "unclosed_quote")]
        );
        assert_eq!(faults(r#"in:"open"#), [(0, 8, "unclosed_quote")]);
        assert_eq!(faults(&"x".repeat(MAX_CHARS + 1)), [(MAX_CHARS, 1, "length")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_and_places_lie_in_it(query in "\\PC{0,40}|[-a:\"* fromihsé\t]{0,40}|((from|in|has|on|-|\"|\\*|a|:| ){0,12})") {
            let length = query.chars().count();
            let lies_in = |place: &Place| place.length > 0 && place.offset + place.length <= length;
            match parse(&query) {
                Ok(items) => {
                    let mut end = 0;
                    for item in &items {
                        prop_assert!(lies_in(&item.place) && item.place.offset >= end);
                        end = item.place.offset + item.place.length;
                        if let What::Operator { value, value_place, .. } = &item.what {
                            prop_assert!(lies_in(value_place) && !value.is_empty());
                        }
                    }
                }
                Err(faults) => {
                    prop_assert!(!faults.is_empty());
                    for fault in &faults {
                        prop_assert!(lies_in(&fault.place), "{fault:?}");
                    }
                }
            }
        }
    }
}
