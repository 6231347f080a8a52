//! How a setting's text becomes a value.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A type that a setting can have.
pub trait Value: Sized {
    /// What is allowed, for people.
    const ALLOWED: &'static str;

    /// Reads the text; the error says what is wrong with it.
    ///
    /// # Errors
    /// A sentence without the setting's name.
    fn parse(text: &str) -> Result<Self, String>;

    /// What stands in for a value that is wrong, so that the other faults can be found too.
    fn placeholder() -> Self;
}

fn expected<T: Value>(text: &str) -> String {
    format!("{text:?} is not allowed; expected {}", T::ALLOWED)
}

impl Value for SocketAddr {
    const ALLOWED: &'static str = "ADDRESS:PORT, e.g. 127.0.0.1:8080 or [::]:8080";
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| expected::<Self>(text))
    }
    fn placeholder() -> Self {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }
}

impl Value for PathBuf {
    const ALLOWED: &'static str = "a path";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err(expected::<Self>(text)) } else { Ok(text.into()) }
    }
    fn placeholder() -> Self {
        Self::new()
    }
}

impl Value for String {
    const ALLOWED: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn placeholder() -> Self {
        Self::new()
    }
}

/// Empty text is `None`.
impl<T: Value> Value for Option<T> {
    const ALLOWED: &'static str = T::ALLOWED;
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
    fn placeholder() -> Self {
        None
    }
}

/// A list, comma separated in variables and flags, an array in the file.
impl Value for Vec<String> {
    const ALLOWED: &'static str = "a list of texts, comma separated outside the file";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }
    fn placeholder() -> Self {
        Self::new()
    }
}

impl Value for bool {
    const ALLOWED: &'static str = "true or false";
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| expected::<Self>(text))
    }
    fn placeholder() -> Self {
        false
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `on`
    On,
    /// `off`
    Off,
}

impl Value for Switch {
    const ALLOWED: &'static str = "on or off";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "on" | "true" => Ok(Self::On),
            "off" | "false" => Ok(Self::Off),
            _ => Err(expected::<Self>(text)),
        }
    }
    fn placeholder() -> Self {
        Self::On
    }
}

impl Value for i64 {
    const ALLOWED: &'static str = "a whole number of at least 1";
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().ok().filter(|n| *n >= 1).ok_or_else(|| expected::<Self>(text))
    }
    fn placeholder() -> Self {
        1
    }
}

impl Value for u16 {
    const ALLOWED: &'static str = "a port, 0 to 65535";
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| expected::<Self>(text))
    }
    fn placeholder() -> Self {
        0
    }
}

impl Value for Duration {
    const ALLOWED: &'static str = "a duration: a whole number with ms, s, m, h or d, e.g. 15m";
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let millis_per_unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(expected::<Self>(text)),
        };
        let number: u64 = number.parse().map_err(|_| expected::<Self>(text))?;
        // A century is more than anything here can mean and far from overflowing anything.
        number
            .checked_mul(millis_per_unit)
            .filter(|ms| (1..=100 * 365 * 86_400_000).contains(ms))
            .map(Duration::from_millis)
            .ok_or_else(|| expected::<Self>(text))
    }
    fn placeholder() -> Self {
        Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("15m", 900_000), ("24h", 86_400_000)] {
            assert_eq!(Duration::parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "15", "m", "0s", "1.5h", "-1s", "15 m", "99999999999999999999d", "40000d"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(Vec::<String>::parse("a, b,,c ").unwrap(), ["a", "b", "c"]);
    }
}
