//! How loud a participant is, and whether it speaks: RFC 6464 levels, smoothed, with two thresholds and some patience, so that
//! a pause between words doesn't count as silence.
//!
//! Owns: that judgement, for one participant. Must not: know other participants or any clock.

use std::time::{Duration, Instant};

/// Silence, in −dBov.
pub const SILENCE: u8 = 127;
/// Loudness above which somebody begins to speak: −45 dBov. Quiet speech into a bad microphone is at about −40, the noise of
/// a room that a browser's noise suppression leaves at −60 and below.
const BEGINS: f32 = 127.0 - 45.0;
/// Loudness below which somebody ceases to speak.
const CEASES: f32 = 127.0 - 55.0;
/// Time constants, in seconds: up with a syllable, down a little slower.
const ATTACK: f32 = 0.050;
const RELEASE: f32 = 0.120;
/// Without a packet for so long, silence is assumed: a muted client or discontinuous transmission.
const GAP: Duration = Duration::from_millis(60);
/// How long it must be quiet to count as the end. With the others this is within 400 ms of the last sound.
const PAUSE: Duration = Duration::from_millis(160);

/// The loudness of one participant.
#[derive(Clone, Debug)]
pub struct Level {
    /// 0 (silence) to 127.
    loudness: f32,
    heard: Instant,
    speaks: bool,
    /// Since when a speaker is quiet.
    quiet: Option<Instant>,
}

impl Level {
    /// Silent so far.
    pub fn new(now: Instant) -> Self {
        Self { loudness: 0.0, heard: now, speaks: false, quiet: None }
    }

    /// A packet came that says it is this loud, in −dBov: 0 is the loudest, 127 silence.
    pub fn packet(&mut self, now: Instant, level: u8) {
        self.fade(now);
        let target = f32::from(SILENCE - level.min(SILENCE));
        let passed = now.saturating_duration_since(self.heard).min(GAP).as_secs_f32();
        let constant = if target > self.loudness { ATTACK } else { RELEASE };
        self.loudness += (target - self.loudness) * (1.0 - (-passed / constant).exp());
        self.heard = now;
        self.judge(now);
    }

    /// Time has passed, perhaps without packets.
    pub fn tick(&mut self, now: Instant) {
        self.fade(now);
        self.judge(now);
    }

    /// What it was loud is forgotten: it was muted.
    pub fn hush(&mut self) {
        self.loudness = 0.0;
        self.speaks = false;
    }

    /// Smoothed loudness, 0 (silence) to 127.
    pub fn loudness(&self) -> f32 {
        self.loudness
    }

    /// Whether it speaks.
    pub fn speaks(&self) -> bool {
        self.speaks
    }

    /// Lets the loudness fall for the time beyond the gap in which nothing came.
    fn fade(&mut self, now: Instant) {
        let since = self.heard + GAP;
        if now > since {
            let passed = (now - since).as_secs_f32();
            self.loudness *= (-passed / RELEASE).exp();
            self.heard = now - GAP;
        }
    }

    fn judge(&mut self, now: Instant) {
        if !self.speaks {
            self.speaks = self.loudness >= BEGINS;
            self.quiet = None;
        } else if self.loudness >= CEASES {
            self.quiet = None;
        } else {
            let since = *self.quiet.get_or_insert(now);
            self.speaks = now.saturating_duration_since(since) < PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKET: Duration = Duration::from_millis(20);

    /// Sends packets of a level until `speaks` is as wanted; how long it took.
    fn until(level: &mut Level, now: &mut Instant, dbov: u8, wanted: bool) -> Duration {
        let began = *now;
        while level.speaks() != wanted {
            *now += PACKET;
            level.packet(*now, dbov);
            assert!(*now - began < Duration::from_secs(2), "never");
        }
        *now - began
    }

    #[test]
    fn notices_speech_and_its_end_in_time() {
        let mut now = Instant::now();
        let mut level = Level::new(now);
        let begins = until(&mut level, &mut now, 25, true);
        assert!(begins > PACKET, "a click is no speech");
        assert!(begins <= Duration::from_millis(200), "{begins:?}");
        let ends = until(&mut level, &mut now, SILENCE, false);
        assert!((160..=400).contains(&ends.as_millis()), "{ends:?}");
    }

    #[test]
    fn ceases_without_packets() {
        let mut now = Instant::now();
        let mut level = Level::new(now);
        until(&mut level, &mut now, 10, true);
        let stopped = now;
        while level.speaks() {
            now += Duration::from_millis(50);
            level.tick(now);
        }
        let ends = now - stopped;
        assert!((200..=400).contains(&ends.as_millis()), "{ends:?}: lost packets are no end");
    }

    #[test]
    fn does_not_flap_between_the_thresholds() {
        let mut now = Instant::now();
        let mut level = Level::new(now);
        until(&mut level, &mut now, 25, true);
        for round in 0_u32..500 {
            now += PACKET;
            level.packet(now, if round.is_multiple_of(2) { 46 } else { 53 });
            assert!(level.speaks());
        }
    }

    #[test]
    fn a_pause_between_words_is_no_end() {
        let mut now = Instant::now();
        let mut level = Level::new(now);
        until(&mut level, &mut now, 25, true);
        for packet in 0_u32..200 {
            now += PACKET;
            // 200 ms of sound, 140 ms of silence.
            level.packet(now, if packet % 17 < 10 { 25 } else { SILENCE });
            assert!(level.speaks());
        }
    }

    proptest! {
        #[test]
        fn stays_in_bounds(steps in prop::collection::vec((0_u64..500, any::<u8>(), any::<bool>()), 0..200)) {
            let mut now = Instant::now();
            let mut level = Level::new(now);
            for (wait, dbov, is_packet) in steps {
                now += Duration::from_millis(wait);
                if is_packet { level.packet(now, dbov) } else { level.tick(now) }
                prop_assert!((0.0..=127.0).contains(&level.loudness()));
                prop_assert!(!level.speaks() || level.loudness() >= CEASES || level.quiet.is_some());
            }
        }
    }
}
