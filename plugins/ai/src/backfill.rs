//! Going through what was written before.
//!
//! Owns: beginning a run, its steps, and what is kept of it. Must not: know what is embedded.

use patchbay_sdk::{
    Error, channels, deployment, llm, messages, scheduler, state, system,
    vectors::{self, Condition},
};
use sha2::{Digest as _, Sha256};

use crate::{
    index::{Index, PATIENCE, ROUNDS, one_of},
    ledger::{Ledger, Place, part_of_page},
    passages::LOOK_BACK,
    policy::Policy,
};

/// Where the ledger is kept.
const KEY: &str = "ledger";
/// Messages that are read at once.
const PAGE: u32 = 200;
/// How long after a failure the next step comes, in ms.
const PAUSE: u64 = 60_000;
/// The job.
pub const JOB: &str = "backfill";

/// The ledger, if there is one.
pub fn ledger() -> Result<Option<Ledger>, Error> {
    state::get(KEY)
}

/// The ledger of what embeds now and what the operator wants now; with another one a new run begins.
pub fn current(policy: &Policy) -> Result<Ledger, Error> {
    let embedder = llm::embedder(policy.embedding.as_deref())?;
    match ledger()? {
        Some(ledger) if ledger.embedder == embedder && ledger.rules == policy.rules() => Ok(ledger),
        before => begin(policy, before, embedder),
    }
}

/// Begins a new run, whatever is there.
pub fn reindex(policy: &Policy) -> Result<Ledger, Error> {
    let embedder = llm::embedder(policy.embedding.as_deref())?;
    begin(policy, ledger()?, embedder)
}

fn begin(policy: &Policy, before: Option<Ledger>, embedder: String) -> Result<Ledger, Error> {
    let collection = collection_of(&embedder);
    if let Some(before) = &before
        && before.collection != collection
    {
        vectors::clear(&before.collection)?;
    }
    let (left_out, number) = channels(policy)?;
    for some in left_out.chunks(1_000) {
        // At once; what else an earlier run left goes when this one has ended.
        vectors::delete_where(&collection, &[one_of("channel", some.iter().copied())])?;
    }
    let dimensions =
        before.as_ref().filter(|before| before.collection == collection).map_or(0, |b| b.dimensions);
    let (rules, started_at) = (policy.rules(), deployment::now());
    let begun = state::update(KEY, |present: Option<Ledger>| {
        Ok::<_, Error>(Ledger {
            embedder: embedder.clone(),
            collection: collection.clone(),
            dimensions,
            rules: rules.clone(),
            run: present.map_or(1, |present| present.run + 1),
            place: Place::Between { after: 0 },
            channels: number,
            channels_done: 0,
            messages: 0,
            started_at,
            finished_at: None,
            error: None,
        })
    })?;
    schedule(started_at)?;
    Ok(begun)
}

/// The collection of what this makes.
pub fn collection_of(embedder: &str) -> String {
    let digest = Sha256::digest(embedder.as_bytes());
    digest.iter().take(8).fold("messages-".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// The channels that are left out, and how many there are in all.
fn channels(policy: &Policy) -> Result<(Vec<u64>, u64), Error> {
    let system = system::get()?;
    let (mut left_out, mut number, mut after) = (Vec::new(), 0, None);
    loop {
        let page = channels::list(&system, after, PAGE)?;
        number += page.len() as u64;
        left_out.extend(page.iter().filter(|channel| !policy.permits(channel)).map(|channel| channel.id));
        after = page.last().map(|channel| channel.id);
        if page.len() < PAGE as usize {
            return Ok((left_out, number));
        }
    }
}

fn schedule(due: u64) -> Result<(), Error> {
    scheduler::schedule(&scheduler::Scheduled { id: JOB.to_owned(), payload: String::new(), due })
}

/// Sees to it that a run goes on that was begun.
pub fn tend() -> Result<(), Error> {
    if ledger()?.is_none_or(|ledger| ledger.is_finished()) {
        return Ok(());
    }
    // The one whose id comes next after everything before it.
    let waiting = scheduler::list(Some("backfil"), 1)?;
    if waiting.iter().any(|job| job.id == JOB) { Ok(()) } else { schedule(deployment::now()) }
}

/// Goes on for a while.
pub fn go_on(policy: &Policy) -> Result<(), Error> {
    let until = deployment::now() + PATIENCE;
    let mut index = Index::open(policy)?;
    let run = index.ledger.run;
    for _ in 0..ROUNDS {
        if index.ledger.is_finished() {
            return Ok(());
        }
        let mut next = index.ledger.clone();
        let done = step(&mut index, &mut next);
        next.error = done.as_ref().err().map(|error| error.reason().detail.clone());
        next.dimensions = index.ledger.dimensions;
        if !keep(&next, run)? {
            // Somebody has begun another one, which has a job of its own.
            return Ok(());
        }
        if let Err(error) = done {
            patchbay_sdk::warn!("going through old messages waits: {}", error.reason().detail);
            return schedule(deployment::now() + PAUSE);
        }
        index.ledger = next;
        if index.is_spent() || deployment::now() >= until {
            break;
        }
    }
    if index.ledger.is_finished() { Ok(()) } else { schedule(deployment::now()) }
}

/// A channel or a page.
fn step(index: &mut Index, ledger: &mut Ledger) -> Result<(), Error> {
    let system = system::get()?;
    match ledger.place {
        Place::End => {}
        Place::Between { after } => {
            let next = channels::list(&system, Some(after), 1)?.first().map(|channel| channel.id);
            if next.is_none() {
                let below =
                    Condition::Below(("run".to_owned(), i64::try_from(ledger.run).unwrap_or(i64::MAX)));
                vectors::delete_where(&ledger.collection, &[below])?;
            }
            ledger.enter(next, deployment::now());
        }
        Place::Within { channel, before } => {
            let page = match index.permits(channel)? {
                true => messages::list(&system, channel, before, PAGE),
                false => Ok(Vec::new()),
            };
            let page = match page {
                // It has gone meanwhile.
                Err(Error::NotFound(_)) => Vec::new(),
                page => page?,
            };
            let part = part_of_page(page.len(), PAGE as usize, LOOK_BACK);
            index.add_page(&page, part)?;
            let is_last = page.len() < PAGE as usize;
            let oldest = page.get(..part).and_then(<[_]>::last).map(|message| message.id);
            ledger.turn_page(part as u64, oldest.filter(|_| !is_last));
        }
    }
    Ok(())
}

/// Keeps where a run is, unless there is another one by now.
fn keep(next: &Ledger, run: u64) -> Result<bool, Error> {
    let kept = state::update(KEY, |present: Option<Ledger>| match present {
        Some(present) if present.run != run => Ok::<_, Error>(present),
        _ => Ok(next.clone()),
    })?;
    Ok(kept.run == run)
}

/// Puts down how long vectors are, the first time that one is made.
pub fn know_dimensions(ledger: &mut Ledger, dimensions: u32) -> Result<(), Error> {
    if ledger.dimensions == dimensions {
        return Ok(());
    }
    ledger.dimensions = dimensions;
    let run = ledger.run;
    state::update(KEY, |present: Option<Ledger>| match present {
        Some(present) if present.run == run => Ok::<_, Error>(Ledger { dimensions, ..present }),
        Some(present) => Ok(present),
        None => Ok(ledger.clone()),
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_for_each_embedder() {
        let (one, other) = (collection_of("lexical"), collection_of("openai/text-embedding-3-small"));
        assert_ne!(one, other);
        for name in [one, other] {
            assert!(
                name.len() <= 64
                    && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            );
        }
    }
}
