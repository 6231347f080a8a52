//! Days and moments, in the user's time zone.
//!
//! Owns: what a date in a query means. Must not: know what time it is.

use jiff::{
    civil::Date,
    tz::{Offset, TimeZone},
};
use patchbay_sdk::Timestamp;

/// A stretch of time: from `start`, and before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: Timestamp,
    /// Where it has ended.
    pub end: Timestamp,
}

/// A time zone by its IANA name, or `+02:00`; none if there is no such zone.
pub fn zone(name: &str) -> Option<TimeZone> {
    let offset = || -> Option<TimeZone> {
        let (sign, rest) = match name.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let number = |text: &str, below: i32| {
            let is_two_digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<i32>().ok().filter(|n| is_two_digits && *n < below)
        };
        let seconds = number(hours, 24)? * 3600 + number(minutes, 60)? * 60;
        Some(TimeZone::fixed(Offset::from_seconds(sign * seconds).ok()?))
    };
    offset().or_else(|| TimeZone::get(name).ok())
}

/// A day, `2026-01-31`, from midnight to midnight in that zone; or a moment, `2026-01-31T12:00:00Z`, a millisecond long.
pub fn span(text: &str, zone: &TimeZone) -> Option<Span> {
    let millis = |at: jiff::Timestamp| Timestamp::try_from(at.as_millisecond()).unwrap_or(0);
    if is_date(text) {
        let day: Date = text.parse().ok()?;
        let midnight = |day: Date| Some(millis(day.to_zoned(zone.clone()).ok()?.timestamp()));
        return Some(Span { start: midnight(day)?, end: midnight(day.tomorrow().ok()?)? });
    }
    let at = millis(text.parse().ok()?);
    Some(Span { start: at, end: at + 1 })
}

/// `0000-00-00` in form: the library reads other forms too.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_where_the_user_is() {
        let of = |text: &str, name: &str| span(text, &zone(name).unwrap()).map(|span| (span.start, span.end));
        let noon = 1_769_860_800_000; // 2026-01-31T12:00:00Z
        let hour = 3_600_000;
        assert_eq!(of("2026-01-31", "UTC"), Some((noon - 12 * hour, noon + 12 * hour)));
        assert_eq!(of("2026-01-31", "+02:00"), Some((noon - 14 * hour, noon + 10 * hour)));
        assert_eq!(of("2026-01-31", "America/New_York"), Some((noon - 7 * hour, noon + 17 * hour)));
        let (start, end) = of("2026-03-29", "Europe/Berlin").unwrap();
        assert_eq!(end - start, 23 * hour, "clocks go forward");
        assert_eq!(of("2026-01-31T12:00:00Z", "-05:00"), Some((noon, noon + 1)));
        assert_eq!(of("2026-01-31T14:00:00+02:00", "UTC"), Some((noon, noon + 1)));
        assert_eq!(of("1900-01-01", "UTC"), Some((0, 0)), "there is nothing before 1970");
        for wrong in
            ["", "2026", "2026-02-30", "2026-13-01", "tomorrow", "31.01.2026", "20260131", "2026-01-31T12:00"]
        {
            assert_eq!(of(wrong, "UTC"), None, "{wrong}");
        }
        for wrong in ["", "Mars/Olympus", "+2", "+24:00", "+02:60", "++2:00", "02:00"] {
            assert!(zone(wrong).is_none(), "{wrong}");
        }
    }
}
