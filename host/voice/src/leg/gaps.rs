//! Which packets of a microphone are missing, and when to ask for them (RFC 4585, NACK).
//!
//! Owns: numbers that did not come. Must not: send anything.

use std::time::{Duration, Instant};

/// Most numbers that are waited for; a longer gap is a pause of the network, which asking would not mend.
const MOST: u16 = 64;
/// How long an answer may take until it is asked again.
const EVERY: Duration = Duration::from_millis(60);
/// How often it is asked for one packet. What has not come by then would be played too late.
const TIMES: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Gaps {
    newest: Option<u16>,
    missing: Vec<Gap>,
}

#[derive(Debug)]
struct Gap {
    sequence: u16,
    asked: u8,
    next: Instant,
}

impl Gaps {
    /// A packet came.
    pub fn packet(&mut self, now: Instant, sequence: u16) {
        let Some(newest) = self.newest else {
            self.newest = Some(sequence);
            return;
        };
        let ahead = sequence.wrapping_sub(newest);
        if ahead >= 0x8000 || ahead == 0 {
            self.missing.retain(|gap| gap.sequence != sequence);
            return;
        }
        self.newest = Some(sequence);
        self.missing.retain(|gap| sequence.wrapping_sub(gap.sequence) <= MOST);
        if ahead <= MOST {
            let absent = (1..ahead).map(|step| newest.wrapping_add(step));
            self.missing.extend(absent.map(|sequence| Gap { sequence, asked: 0, next: now }));
        }
    }

    /// The numbers to ask for now.
    pub fn due(&mut self, now: Instant) -> Vec<u16> {
        let mut due = Vec::new();
        for gap in self.missing.iter_mut().filter(|gap| gap.next <= now) {
            gap.asked += 1;
            gap.next = now + EVERY;
            due.push(gap.sequence);
        }
        self.missing.retain(|gap| gap.asked < TIMES);
        due
    }

    /// When there is something to ask for.
    pub fn deadline(&self) -> Option<Instant> {
        self.missing.iter().map(|gap| gap.next).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn asks_for_what_is_missing_until_it_comes_or_is_too_late() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        for sequence in [65_534, 1] {
            gaps.packet(now, sequence);
        }
        assert_eq!(gaps.due(now), [65_535, 0]);
        assert_eq!(gaps.due(now), [0; 0], "has just been asked");
        gaps.packet(now, 65_535);
        for round in 1..4 {
            let later = now + EVERY * round;
            assert_eq!(gaps.deadline(), Some(later));
            assert_eq!(gaps.due(later), [0]);
        }
        assert_eq!(gaps.deadline(), None, "too late");
        gaps.packet(now, 5_000);
        assert_eq!(gaps.deadline(), None, "a pause, not loss");
    }

    proptest! {
        #[test]
        fn never_asks_for_what_came_nor_for_much(
            sequences in prop::collection::vec(prop_oneof![0_u16..300, any::<u16>()], 0..200),
        ) {
            let mut now = Instant::now();
            let mut gaps = Gaps::default();
            let mut came = std::collections::HashSet::new();
            for sequence in sequences {
                came.insert(sequence);
                gaps.packet(now, sequence);
                now += Duration::from_millis(20);
                let due = gaps.due(now);
                prop_assert!(due.len() <= usize::from(MOST));
                // A number comes again only after the circle has been gone round.
                prop_assert!(due.iter().all(|one| *one != sequence));
            }
        }
    }
}
