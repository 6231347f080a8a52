//! The rules for text that people type: names, addresses, passwords, messages. Pure checks that say what is
//! wrong; the API decides how to say it.

/// Most characters of a message.
pub const MAX_CONTENT_CHARS: usize = 8_000;
/// Most characters of a channel name.
pub const MAX_CHANNEL_NAME_CHARS: usize = 100;
/// Most characters of a channel description.
pub const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// Most characters of a full name.
pub const MAX_FULL_NAME_CHARS: usize = 100;
/// Most bytes of an e-mail address (RFC 5321, 4.5.3.1.3, less the angle brackets).
pub const MAX_EMAIL_BYTES: usize = 254;
/// What [`check_username`] lets pass, as a regular expression (ECMA 262), but for the length.
pub const USERNAME_PATTERN: &str = "^[A-Za-z0-9_.-]+$";
/// What [`check_email`] lets pass, as a regular expression (ECMA 262), but for the length.
pub const EMAIL_PATTERN: &str =
    r"^[^\s\x00-\x1f\x7f-\x9f<>,@]+@[^\s\x00-\x1f\x7f-\x9f<>,@.]+(\.[^\s\x00-\x1f\x7f-\x9f<>,@.]+)+$";
/// Most characters of an idempotency key.
pub const MAX_KEY_CHARS: usize = 255;
/// The characters that [`check_text`] lets pass, as a regular expression (ECMA 262).
pub const TEXT_PATTERN: &str = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$";
/// Most distinct people that one message can mention.
pub const MAX_MENTIONS: usize = 50;

/// What is wrong with a text: a stable code and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable snake_case.
    pub code: &'static str,
    /// A sentence without the field's name.
    pub message: String,
}

fn fault(code: &'static str, message: impl Into<String>) -> Fault {
    Fault { code, message: message.into() }
}

fn is_username_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// 2 to 32 of ASCII letters, digits, `_ . -`.
///
/// # Errors
/// `length` or `characters`.
pub fn check_username(name: &str) -> Result<(), Fault> {
    let length = name.chars().count();
    if !(2..=32).contains(&length) {
        return Err(fault("length", "must have 2 to 32 characters"));
    }
    if !name.chars().all(is_username_char) {
        return Err(fault("characters", "may contain letters, digits, '_', '.' and '-' only"));
    }
    Ok(())
}

/// Something with one `@`, a dot behind it and no white space or control characters; whether mail arrives
/// there is not for us to know.
///
/// # Errors
/// `length` or `format`.
pub fn check_email(email: &str) -> Result<(), Fault> {
    if email.len() > MAX_EMAIL_BYTES {
        return Err(fault("length", format!("must have at most {MAX_EMAIL_BYTES} bytes")));
    }
    let valid = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.contains('@')
            && domain.split('.').count() >= 2
            && domain.split('.').all(|label| !label.is_empty())
    });
    if !valid || email.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ',')) {
        return Err(fault("format", "must be an e-mail address"));
    }
    Ok(())
}

/// 8 to 256 characters.
///
/// # Errors
/// `length`.
pub fn check_password(password: &str) -> Result<(), Fault> {
    if (8..=256).contains(&password.chars().count()) {
        Ok(())
    } else {
        Err(fault("length", "must have 8 to 256 characters"))
    }
}

/// `min` to `max` characters, at least one of them visible when `min` is not 0, none of them a control
/// character other than newline and tab.
///
/// # Errors
/// `length`, `blank` or `characters`.
pub fn check_text(text: &str, min: usize, max: usize) -> Result<(), Fault> {
    let length = text.chars().count();
    if length < min || length > max {
        return Err(fault("length", format!("must have {min} to {max} characters")));
    }
    if min > 0 && text.chars().all(char::is_whitespace) {
        return Err(fault("blank", "must not be blank"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(fault("characters", "must not contain control characters"));
    }
    Ok(())
}

/// The usernames that a message mentions, lower-cased, in order of appearance, each once, at most
/// [`MAX_MENTIONS`]. A mention is `@` at the start of a word; a trailing `.` or `-` is punctuation.
pub fn mentioned_usernames(content: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut before = None;
    for (at, c) in content.char_indices() {
        let starts = c == '@' && !before.is_some_and(|b: char| b.is_alphanumeric() || is_username_char(b));
        before = Some(c);
        if !starts {
            continue;
        }
        let rest = content.get(at + 1..).unwrap_or_default();
        let end = rest.find(|c| !is_username_char(c)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().trim_end_matches(['.', '-']).to_ascii_lowercase();
        if check_username(&name).is_ok() && !names.contains(&name) {
            names.push(name);
            if names.len() == MAX_MENTIONS {
                break;
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames() {
        for good in ["ab", "A.b_c-9", &"x".repeat(32)] {
            assert_eq!(check_username(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "a b", "ä€", "a@b", &"x".repeat(33)] {
            assert!(check_username(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn emails() {
        for good in ["a@b.c", "first.last+tag@sub.example.org", "ü@exämple.org"] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "a@b", "@b.c", "a@.c", "a@b.", "a b@c.d", "a@b@c.d", "a@b.c\n"] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(check_text("héllo 👋\n", 1, 8), Ok(()));
        assert_eq!(check_text("", 0, 8), Ok(()));
        assert_eq!(check_text(" \n", 1, 8).map_err(|f| f.code), Err("blank"));
        assert_eq!(check_text("a\0b", 1, 8).map_err(|f| f.code), Err("characters"));
        assert_eq!(check_text("123456789", 1, 8).map_err(|f| f.code), Err("length"));
    }

    #[test]
    fn mentions() {
        assert_eq!(
            mentioned_usernames("@Ann, hi @bob. and @ann; mail me@example.org (@c-d-)"),
            ["ann", "bob", "c-d"]
        );
        assert_eq!(mentioned_usernames("@ @x @@ann"), ["ann"]);
        assert_eq!(
            mentioned_usernames("日本@ann").len(),
            0,
            "a word character before it makes it no mention"
        );
    }
}
