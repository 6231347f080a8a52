//! Who of a room is heard: a few places for those who speak, given with hysteresis so that voices don't flap.
//!
//! There are as many main places as a listener has slots, and one spare place. Everybody hears who has a main place; who has
//! one hears the spare one in place of itself. So in a small room everybody hears everybody, and nobody hears itself.
//!
//! Owns: the places. Must not: know who listens, or forward anything.

use std::time::{Duration, Instant};

use crate::ParticipantId;

/// How long a holder who still speaks keeps its place against a louder voice.
pub(crate) const HOLD: Duration = Duration::from_secs(2);
/// How long a holder keeps its place once it is silent, if somebody else speaks: a breath is no end of speech. Level itself
/// waits for a while before it calls somebody silent.
pub(crate) const BREATH: Duration = Duration::from_millis(300);
/// By how much a voice must be louder than a holder who still speaks, in dB.
const MARGIN: f32 = 6.0;

/// Somebody who could be heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub who: ParticipantId,
    pub loudness: f32,
    pub speaks: bool,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    who: ParticipantId,
    since: Instant,
}

/// The places.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The main places and, at the end, the spare one.
    places: Vec<Option<Holder>>,
}

impl Stage {
    /// A stage with this many main places.
    pub fn new(slots: usize) -> Self {
        Self { places: vec![None; slots + 1] }
    }

    /// Those whom everybody hears, in no order that means anything.
    pub fn main(&self) -> impl Iterator<Item = ParticipantId> + '_ {
        self.places.iter().take(self.places.len() - 1).flatten().map(|holder| holder.who)
    }

    /// The one whom only those on the main places hear.
    pub fn spare(&self) -> Option<ParticipantId> {
        self.places.last().copied().flatten().map(|holder| holder.who)
    }

    /// Whether somebody has a place.
    pub fn holds(&self, who: ParticipantId) -> bool {
        self.places.iter().flatten().any(|holder| holder.who == who)
    }

    /// Gives the places anew. `voices` are all who may be heard; whoever is not among them loses its place. Whether anything has
    /// changed.
    pub fn choose(&mut self, now: Instant, voices: &[Voice]) -> bool {
        let find = |who| voices.iter().find(|voice| voice.who == who);
        let mut changed = false;
        for place in &mut self.places {
            if place.is_some_and(|holder| find(holder.who).is_none()) {
                *place = None;
                changed = true;
            }
        }
        // The main places choose first; what they leave is for the spare one.
        let spare = self.places.len() - 1;
        for first in [0, spare] {
            while let Some((at, who)) = self.step(now, voices, first) {
                self.take(now, at, who);
                changed = true;
            }
        }
        changed
    }

    /// The next place to give away among the main ones (`first` is 0) or the spare one, and to whom.
    fn step(&self, now: Instant, voices: &[Voice], first: usize) -> Option<(usize, ParticipantId)> {
        let spare = self.places.len() - 1;
        let places = if first == 0 { 0..spare } else { spare..spare + 1 };
        let is_above = |voice: &&Voice| {
            let holders = self.places.iter().take(if first == 0 { spare } else { spare + 1 });
            holders.flatten().any(|holder| holder.who == voice.who)
        };
        let challenger = voices.iter().filter(|voice| !is_above(voice)).max_by(by_claim)?;
        let mut weakest: Option<(usize, &Voice, Instant)> = None;
        for at in places {
            let Some(holder) = self.places.get(at).copied().flatten() else {
                return Some((at, challenger.who));
            };
            let voice = voices.iter().find(|voice| voice.who == holder.who)?;
            if weakest.is_none_or(|(_, other, _)| by_claim(&voice, &other).is_lt()) {
                weakest = Some((at, voice, holder.since));
            }
        }
        let (at, victim, since) = weakest?;
        let held = now.saturating_duration_since(since);
        let yields = match (challenger.speaks, victim.speaks) {
            (false, _) => false,
            (true, false) => held >= BREATH,
            (true, true) => held >= HOLD && challenger.loudness >= victim.loudness + MARGIN,
        };
        yields.then_some((at, challenger.who))
    }

    /// Puts somebody into a place. Who had it takes the place that the other leaves, if that had one.
    fn take(&mut self, now: Instant, at: usize, who: ParticipantId) {
        let left = self.places.iter().position(|place| place.is_some_and(|holder| holder.who == who));
        let before = self.places.get(at).copied().flatten();
        if let Some(place) = left.and_then(|left| self.places.get_mut(left)) {
            *place = before;
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(Holder { who, since: now });
        }
    }
}

/// Who has the better claim to be heard: who speaks, then who is louder.
fn by_claim(one: &&Voice, other: &&Voice) -> std::cmp::Ordering {
    one.speaks.cmp(&other.speaks).then(one.loudness.total_cmp(&other.loudness))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn voice(who: u64, loudness: f32) -> Voice {
        Voice { who: ParticipantId(who), loudness, speaks: loudness >= 80.0 }
    }

    fn main(stage: &Stage) -> HashSet<u64> {
        stage.main().map(|who| who.0).collect()
    }

    #[test]
    fn everybody_of_a_small_room_has_a_place() {
        let mut stage = Stage::new(3);
        let silent: Vec<_> = (1..=4).map(|who| voice(who, 0.0)).collect();
        assert!(stage.choose(Instant::now(), &silent));
        assert!((1..=4).all(|who| stage.holds(ParticipantId(who))));
        assert!(!stage.choose(Instant::now(), &silent), "and it stays so");
    }

    #[test]
    fn who_speaks_takes_the_place_of_who_is_silent_and_at_once() {
        let mut now = Instant::now();
        let mut stage = Stage::new(1);
        stage.choose(now, &[voice(1, 90.0), voice(2, 0.0), voice(3, 0.0)]);
        assert_eq!(main(&stage), HashSet::from([1]));
        now += BREATH;
        stage.choose(now, &[voice(1, 40.0), voice(2, 0.0), voice(3, 95.0)]);
        assert_eq!(main(&stage), HashSet::from([3]));
    }

    #[test]
    fn a_speaker_keeps_its_place_unless_another_is_much_louder_for_long() {
        let start = Instant::now();
        let mut stage = Stage::new(1);
        stage.choose(start, &[voice(1, 90.0), voice(2, 85.0)]);
        for (after, loudness, expected) in [(10, 95.0, 1), (1, 110.0, 1), (3, 110.0, 2)] {
            let mut stage = stage.clone();
            stage.choose(start + Duration::from_secs(after), &[voice(1, 90.0), voice(2, loudness)]);
            assert_eq!(main(&stage), HashSet::from([expected]), "{after} s, {loudness}");
        }
    }

    #[test]
    fn the_spare_one_moves_up() {
        let mut now = Instant::now();
        let mut stage = Stage::new(1);
        stage.choose(now, &[voice(1, 90.0), voice(2, 85.0)]);
        assert_eq!(stage.spare(), Some(ParticipantId(2)));
        now += BREATH;
        stage.choose(now, &[voice(1, 0.0), voice(2, 85.0)]);
        assert_eq!((main(&stage), stage.spare()), (HashSet::from([2]), Some(ParticipantId(1))));
    }

    prop_compose! {
        fn steps()(steps in prop::collection::vec((0_u64..3_000, prop::collection::vec(0.0_f32..127.0, 0..9)), 1..60))
            -> Vec<(u64, Vec<f32>)> { steps }
    }

    proptest! {
        #[test]
        fn places_are_given_once_to_those_who_are_there(slots in 1_usize..4, steps in steps()) {
            let mut now = Instant::now();
            let mut stage = Stage::new(slots);
            for (wait, loudness) in steps {
                now += Duration::from_millis(wait);
                let voices: Vec<_> = loudness.iter().enumerate().map(|(who, l)| voice(who as u64, *l)).collect();
                stage.choose(now, &voices);
                let holders: Vec<_> = stage.main().chain(stage.spare()).collect();
                let distinct: HashSet<_> = holders.iter().collect();
                prop_assert_eq!(distinct.len(), holders.len());
                prop_assert!(holders.iter().all(|who| voices.iter().any(|voice| voice.who == *who)));
                prop_assert_eq!(holders.len(), voices.len().min(slots + 1), "no place is empty while somebody waits");
                prop_assert!(!stage.choose(now, &voices), "the same once more changes nothing");
            }
        }

        /// Whoever is the only one to speak is heard by all, soon.
        #[test]
        fn a_lone_speaker_is_heard(slots in 1_usize..4, steps in steps(), lone in 0_u64..9) {
            let mut now = Instant::now();
            let mut stage = Stage::new(slots);
            for (wait, loudness) in steps {
                now += Duration::from_millis(wait);
                let voices: Vec<_> = loudness.iter().enumerate().map(|(who, l)| voice(who as u64, *l)).collect();
                stage.choose(now, &voices);
            }
            now += BREATH;
            let voices: Vec<_> = (0..9).map(|who| voice(who, if who == lone { 80.0 } else { 79.0 })).collect();
            stage.choose(now, &voices);
            prop_assert!(stage.main().any(|who| who.0 == lone));
        }

        /// However the levels jump, a place changes hands only every so often.
        #[test]
        fn places_do_not_flap(levels in prop::collection::vec(prop::collection::vec(80.0_f32..127.0, 6), 100)) {
            let mut now = Instant::now();
            let mut stage = Stage::new(3);
            let mut changes = 0;
            for loudness in &levels {
                now += Duration::from_millis(100);
                let voices: Vec<_> = loudness.iter().enumerate().map(|(who, l)| voice(who as u64, *l)).collect();
                let before = main(&stage);
                stage.choose(now, &voices);
                changes += main(&stage).difference(&before).count();
            }
            // Ten seconds, three places, two seconds each, and the first three.
            prop_assert!(changes <= 3 * 5 + 3, "{}", changes);
        }
    }
}
