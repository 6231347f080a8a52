//! One audio slot of one listener: packets of changing sources come out as one unbroken stream.
//!
//! Owns: sequence numbers and timestamps of the slot. Must not: look into payloads, or know who the sources are.

use std::time::Instant;

/// Opus' clock in RTP (RFC 7587).
const SAMPLES_PER_SECOND: u128 = 48_000;
/// A packet of 20 ms.
const PACKET_SAMPLES: u32 = 960;

/// What a packet gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// The first packet of a source: the receiver may adapt its buffer (RFC 3551, 4.1).
    pub begins: bool,
}

/// The numbers of one slot.
#[derive(Clone, Debug)]
pub struct Slot {
    source: Option<Source>,
    /// Numbers of the newest packet that left, and when.
    sequence: u16,
    timestamp: u32,
    sent: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    key: u64,
    sequence_offset: u16,
    timestamp_offset: u32,
    /// The source's own number of its first packet here.
    first: u16,
}

impl Slot {
    /// A slot that begins at these numbers (random ones, RFC 3550, 5.1).
    pub fn new(sequence: u16, timestamp: u32) -> Self {
        Self { source: None, sequence, timestamp, sent: None }
    }

    /// The numbers for a packet of a source. A new key begins afresh: another source, or one that was silent by decision, whose
    /// numbers went on meanwhile. None for a packet from before its source came here: its number belongs to another.
    pub fn next(&mut self, now: Instant, key: u64, sequence: u16, timestamp: u32) -> Option<Numbers> {
        let known = self.source.filter(|source| source.key == key);
        let source = known.unwrap_or_else(|| self.begin(now, key, sequence, timestamp));
        self.source = Some(source);
        if known.is_some() && is_before(sequence, source.first) {
            return None;
        }
        let numbers = Numbers {
            sequence: sequence.wrapping_add(source.sequence_offset),
            timestamp: timestamp.wrapping_add(source.timestamp_offset),
            begins: known.is_none(),
        };
        if self.sent.is_none() || known.is_none() || is_before(self.sequence, numbers.sequence) {
            (self.sequence, self.timestamp, self.sent) = (numbers.sequence, numbers.timestamp, Some(now));
        }
        Some(numbers)
    }

    fn begin(&self, now: Instant, key: u64, sequence: u16, timestamp: u32) -> Source {
        // The next number, and the time that has passed: no gap and no overlap, whoever spoke before.
        let passed = self.sent.map_or(0, |sent| now.saturating_duration_since(sent).as_micros());
        let samples = u32::try_from(passed * SAMPLES_PER_SECOND / 1_000_000).unwrap_or(u32::MAX / 4);
        let next = self.timestamp.wrapping_add(samples.clamp(PACKET_SAMPLES, u32::MAX / 4));
        Source {
            key,
            sequence_offset: self.sequence.wrapping_add(1).wrapping_sub(sequence),
            timestamp_offset: next.wrapping_sub(timestamp),
            first: sequence,
        }
    }
}

/// Whether a number is before another one, within half of the circle.
fn is_before(one: u16, other: u16) -> bool {
    one != other && other.wrapping_sub(one) < 0x8000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_of_source_is_seamless() {
        let now = Instant::now();
        let mut slot = Slot::new(65_534, u32::MAX);
        let first = slot.next(now, 1, 500, 7_000).unwrap();
        assert_eq!((first.sequence, first.begins), (65_535, true));
        let second = slot.next(now + Duration::from_millis(20), 1, 501, 7_960).unwrap();
        assert_eq!(second.sequence, 0, "numbers wrap");
        assert_eq!(second.timestamp, first.timestamp.wrapping_add(960));
        // Another source, 100 ms later.
        let third = slot.next(now + Duration::from_millis(120), 2, 9, 1).unwrap();
        assert_eq!((third.sequence, third.begins), (1, true));
        assert_eq!(third.timestamp, second.timestamp.wrapping_add(4_800));
    }

    #[test]
    fn a_late_packet_keeps_its_place_and_one_from_before_goes() {
        let now = Instant::now();
        let mut slot = Slot::new(10, 0);
        slot.next(now, 1, 100, 0).unwrap();
        slot.next(now, 1, 102, 1_920).unwrap();
        let late = slot.next(now, 1, 101, 960).unwrap();
        assert_eq!(late.sequence, 12);
        assert_eq!(slot.next(now, 1, 99, 0), None);
        assert_eq!(slot.next(now, 1, 103, 2_880).unwrap().sequence, 14);
    }

    #[test]
    fn a_source_that_paused_by_decision_leaves_no_gap() {
        let now = Instant::now();
        let mut slot = Slot::new(10, 0);
        slot.next(now, 1, 100, 0).unwrap();
        let back = slot.next(now + Duration::from_secs(10), 2, 600, 480_000).unwrap();
        assert_eq!(back.sequence, 12, "the 499 packets in between were never meant for this slot");
    }

    proptest! {
        /// Packets that come in order leave in order: numbers rise by one, timestamps rise, over any changes of source.
        #[test]
        fn in_order_in_order_out(
            start in any::<(u16, u32)>(),
            runs in prop::collection::vec((any::<u16>(), any::<u32>(), 1_u16..50, 0_u64..5_000), 1..20),
        ) {
            let mut now = Instant::now();
            let mut slot = Slot::new(start.0, start.1);
            let mut last: Option<Numbers> = None;
            for (key, (sequence, timestamp, packets, pause)) in runs.into_iter().enumerate() {
                now += Duration::from_millis(pause);
                for packet in 0..packets {
                    let at = timestamp.wrapping_add(u32::from(packet) * 960);
                    let numbers = slot.next(now, key as u64, sequence.wrapping_add(packet), at).unwrap();
                    prop_assert_eq!(numbers.begins, packet == 0);
                    if let Some(last) = last {
                        prop_assert_eq!(numbers.sequence, last.sequence.wrapping_add(1));
                        let step = numbers.timestamp.wrapping_sub(last.timestamp);
                        prop_assert!(step > 0 && step < u32::MAX / 2, "{}", step);
                    }
                    last = Some(numbers);
                    now += Duration::from_millis(20);
                }
            }
        }
    }
}
