//! When a channel's digest is due.
//!
//! Owns: the time of day, its zone and what is kept of both. Must not: call the host.

use jiff::{Timestamp as Instant, ToSpan as _, civil::Time, tz::TimeZone};
use patchbay_sdk::Timestamp;

/// The plan of one channel.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// The time of day.
    pub at: Time,
    /// The name of the time zone, one that exists.
    pub zone: String,
    /// Until when the last digest told.
    pub since: Timestamp,
}

/// Reads `HH:MM [ZONE]`; the zone is UTC if there is none.
pub fn parse(text: &str) -> Result<(Time, &str), String> {
    let (time, zone) = text.split_once(char::is_whitespace).unwrap_or((text, "UTC"));
    let zone = zone.trim();
    let wrong = || format!("{time:?} is no time of day; write HH:MM, e.g. 08:00, or off");
    let (hours, minutes) = time.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let (Some(hours), Some(minutes)) = (number(hours), number(minutes)) else { return Err(wrong()) };
    let at = Time::new(hours, minutes, 0, 0).map_err(|_| wrong())?;
    TimeZone::get(zone).map_err(|_| format!("there is no time zone {zone:?}; write e.g. Europe/Berlin"))?;
    Ok((at, zone))
}

impl Plan {
    /// For people.
    pub fn shown(&self) -> String {
        format!("{:02}:{:02} ({})", self.at.hour(), self.at.minute(), self.zone)
    }

    /// The first time after this one that it is so late there. A time that the clocks skip is taken an hour later.
    pub fn next(&self, after: Timestamp) -> Result<Timestamp, String> {
        let failed = |error: jiff::Error| error.to_string();
        let zone = TimeZone::get(&self.zone).map_err(failed)?;
        let after = i64::try_from(after).map_err(|error| error.to_string())?;
        let now = Instant::from_millisecond(after).map_err(failed)?.to_zoned(zone.clone());
        let mut day = now.date();
        loop {
            let due = day.to_datetime(self.at).to_zoned(zone.clone()).map_err(failed)?.timestamp();
            if due.as_millisecond() > after {
                return u64::try_from(due.as_millisecond()).map_err(|error| error.to_string());
            }
            day = day.checked_add(1.day()).map_err(failed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_zones_are_read() {
        assert_eq!(parse("08:30 Europe/Berlin"), Ok((Time::constant(8, 30, 0, 0), "Europe/Berlin")));
        assert_eq!(parse("8:05"), Ok((Time::constant(8, 5, 0, 0), "UTC")));
        assert_eq!(parse("23:59   America/New_York").unwrap().1, "America/New_York");
        for text in
            ["24:00", "8", "8:60", "+8:00", "8:0a", "008:00", "morning", ":", "8:30 Nowhere/Land", "8:30 "]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_is_as_long_as_it_is_there() {
        let plan = |zone: &str| Plan { at: Time::constant(2, 30, 0, 0), zone: zone.to_owned(), since: 7 };
        let at = |text: &str| u64::try_from(text.parse::<Instant>().unwrap().as_millisecond()).unwrap();
        let next = |zone, after| {
            Instant::from_millisecond(plan(zone).next(at(after)).unwrap() as i64).unwrap().to_string()
        };
        assert_eq!(next("UTC", "2026-01-31T02:29:59Z"), "2026-01-31T02:30:00Z");
        assert_eq!(next("UTC", "2026-01-31T02:30:00Z"), "2026-02-01T02:30:00Z");
        assert_eq!(next("Europe/Berlin", "2026-03-27T12:00:00Z"), "2026-03-28T01:30:00Z");
        // On the 29th there is no half past two; in October there are two.
        assert_eq!(next("Europe/Berlin", "2026-03-28T12:00:00Z"), "2026-03-29T01:30:00Z");
        assert_eq!(next("Europe/Berlin", "2026-03-29T12:00:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(next("Europe/Berlin", "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next("Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
    }
}
