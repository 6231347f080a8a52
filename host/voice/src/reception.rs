//! How well a microphone's packets arrive: loss and jitter as RFC 3550 has them (A.3, A.8).
//!
//! Owns: those two figures, for one source. Must not: act on them.

use std::time::Instant;

/// Opus' clock.
const SAMPLES_PER_MS: f64 = 48.0;
/// A jump of more than this is a new beginning, not loss.
const MAX_JUMP: u16 = 3_000;

/// What has come from one source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reception {
    newest: Option<Newest>,
    expected: u64,
    received: u64,
    /// How often the numbers have gone round.
    rounds: u16,
    /// In milliseconds.
    jitter: f64,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    sequence: u16,
    timestamp: u32,
    at: Instant,
}

impl Reception {
    /// A packet came.
    pub fn packet(&mut self, now: Instant, sequence: u16, timestamp: u32) {
        self.received += 1;
        let newest = Newest { sequence, timestamp, at: now };
        let Some(before) = self.newest.replace(newest) else {
            self.expected += 1;
            return;
        };
        let ahead = sequence.wrapping_sub(before.sequence);
        if ahead == 0 || ahead > u16::MAX - MAX_JUMP {
            // Late: it was expected when a later one came. That one stays the newest.
            self.newest = Some(before);
            return;
        }
        self.expected += if ahead > MAX_JUMP { 1 } else { u64::from(ahead) };
        self.rounds = self.rounds.wrapping_add(u16::from(sequence < before.sequence));
        let passed = now.saturating_duration_since(before.at).as_secs_f64() * 1e3;
        let sent = f64::from(timestamp.wrapping_sub(before.timestamp)) / SAMPLES_PER_MS;
        // A pause in speech counts for nothing.
        if ahead == 1 && sent < 1_000.0 {
            self.jitter += ((passed - sent).abs() - self.jitter) / 16.0;
        }
    }

    /// Packets that should have come.
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// Packets that came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The newest sequence number, with the rounds that the numbers have made above it (RFC 3550, 6.4.1).
    pub fn newest(&self) -> u32 {
        let newest = self.newest.map_or(0, |newest| newest.sequence);
        u32::from(self.rounds) << 16 | u32::from(newest)
    }

    /// Packets that were expected and did not come.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// How unevenly they come, in milliseconds.
    pub fn jitter(&self) -> f64 {
        self.jitter
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_what_is_missing_and_forgives_what_is_late() {
        let now = Instant::now();
        let mut reception = Reception::default();
        for sequence in [65_533, 65_535, 65_534, 2, 3] {
            reception.packet(now, sequence, 0);
        }
        assert_eq!(reception.lost(), 2, "0 and 1");
        assert_eq!(reception.newest(), 0x1_0003);
        reception.packet(now, 30_000, 0);
        assert_eq!(reception.lost(), 2, "a new beginning");
    }

    #[test]
    fn even_packets_have_no_jitter() {
        let start = Instant::now();
        let (mut even, mut uneven) = (Reception::default(), Reception::default());
        for packet in 0_u16..500 {
            let at = start + Duration::from_millis(20) * u32::from(packet);
            even.packet(at, packet, u32::from(packet) * 960);
            let late = Duration::from_millis(if packet % 2 == 0 { 0 } else { 10 });
            uneven.packet(at + late, packet, u32::from(packet) * 960);
        }
        assert!(even.jitter() < 0.01, "{}", even.jitter());
        assert!((9.0..=11.0).contains(&uneven.jitter()), "{}", uneven.jitter());
    }
}
