//! Digests: once a day a channel is told what was going on in it.
//!
//! Owns: the command, the plan of each channel, and when a digest is due. Must not: know what is in one (`summary`), or see
//! more of a channel than the plugin's bot does, who has to be a member.

mod plan;
mod summary;

use patchbay_sdk::{
    Actor, ChannelId, Commands, DueJob, Error, Invocation, Jobs, Reply, Timestamp, channels, identity, kv,
    messages, reactions, scheduler, state, users,
};
use plan::Plan;
use summary::Said;

/// Most messages that one digest looks at, the newest.
const MOST: usize = 2_000;
const PAGE: u32 = 200;

struct Digest;

impl Commands for Digest {
    fn run(caller: &Actor, invocation: Invocation) -> Result<Reply, Error> {
        let channel = invocation.channel;
        let told = match invocation.text.as_str() {
            "" => Some(show(channel)?),
            "off" => stop(caller, channel)?,
            text => {
                let (at, zone) = plan::parse(text).map_err(Error::invalid)?;
                start(caller, channel, at, zone)?;
                None
            }
        };
        Ok(Reply { text: told })
    }
}

impl Jobs for Digest {
    fn run(job: DueJob) -> Result<(), Error> {
        let channel =
            job.id.parse().map_err(|_| Error::internal(format!("no job of its own: {:?}", job.id)))?;
        // Somebody has turned it off meanwhile.
        let Some(plan) = state::get::<Plan>(&key(channel))? else { return Ok(()) };
        let bot = identity::bot()?;
        match tell(&bot, channel, plan.since, job.due) {
            // Nobody is left who could be told; whoever adds the bot again sets it up again.
            Err(Error::NotFound(_) | Error::Forbidden(_)) => return kv::delete(&key(channel)).map(drop),
            told => told?,
        }
        let plan = Plan { since: job.due, ..plan };
        state::set(&key(channel), &plan)?;
        schedule(channel, &plan, job.due)
    }
}

fn show(channel: ChannelId) -> Result<String, Error> {
    Ok(match state::get::<Plan>(&key(channel))? {
        Some(plan) => format!("A digest comes daily at {}.", plan.shown()),
        None => "There is no digest here. `/digest 08:00 Europe/Berlin` sets one up.".to_owned(),
    })
}

/// From now on, which the bot's message says everybody, and which is when it was posted.
fn start(caller: &Actor, channel: ChannelId, at: jiff::civil::Time, zone: &str) -> Result<(), Error> {
    let bot = identity::bot()?;
    if !is_member(&bot, channel)? {
        return Err(Error::conflict("the bot @digest has to be a member of this channel; add it first"));
    }
    let plan = Plan { at, zone: zone.to_owned(), since: 0 };
    let text = format!(
        "A digest of this channel comes daily at {}, set up by {}.",
        plan.shown(),
        name(&bot, caller)?
    );
    let plan = Plan { since: messages::post(&bot, channel, &text, None, &[])?.created_at, ..plan };
    state::set(&key(channel), &plan)?;
    schedule(channel, &plan, plan.since)
}

fn stop(caller: &Actor, channel: ChannelId) -> Result<Option<String>, Error> {
    if !kv::delete(&key(channel))? {
        return Ok(Some("There was none.".to_owned()));
    }
    scheduler::cancel(&channel.to_string())?;
    let bot = identity::bot()?;
    let text = format!("No more digests, says {}.", name(&bot, caller)?);
    // Where the bot is no longer a member nobody misses it.
    let _ = messages::post(&bot, channel, &text, None, &[]);
    Ok(None)
}

fn schedule(channel: ChannelId, plan: &Plan, after: Timestamp) -> Result<(), Error> {
    let due = plan.next(after).map_err(Error::internal)?;
    scheduler::schedule(&scheduler::Scheduled { id: channel.to_string(), payload: String::new(), due })
}

/// Posts what happened between the two, if anything did.
fn tell(bot: &Actor, channel: ChannelId, since: Timestamp, until: Timestamp) -> Result<(), Error> {
    let own = bot.user_id();
    let (mut said, mut told) = (Vec::new(), Vec::new());
    let mut before = None;
    'pages: while said.len() < MOST {
        let page = messages::list(bot, channel, before, PAGE)?;
        let is_last = page.len() < PAGE as usize;
        before = page.last().map(|message| message.id);
        for message in page {
            if Some(message.sender) == own {
                told.push(message.content);
                continue;
            }
            if message.created_at < since {
                break 'pages;
            }
            // What was deleted is an empty place in its thread.
            if message.created_at < until && !message.is_bot && !message.content.is_empty() {
                said.push(Said {
                    id: message.id,
                    sender: message.sender,
                    parent: message.parent,
                    text: message.content,
                    reactions: 0,
                });
            }
        }
        if is_last {
            break;
        }
    }
    for some in said.chunks_mut(PAGE as usize) {
        let ids: Vec<_> = some.iter().map(|said| said.id).collect();
        for count in reactions::counts(bot, &ids)? {
            if let Some(said) = some.iter_mut().find(|said| said.id == count.message) {
                said.reactions += count.count;
            }
        }
    }
    let Some(text) = summary::of(&said) else { return Ok(()) };
    if told.contains(&text) {
        // It was told before something went wrong.
        return Ok(());
    }
    messages::post(bot, channel, &text, None, &[]).map(drop)
}

fn is_member(bot: &Actor, channel: ChannelId) -> Result<bool, Error> {
    let Some(own) = bot.user_id() else { return Ok(false) };
    match channels::members(bot, channel, own.checked_sub(1), 1) {
        Ok(members) => Ok(members.first() == Some(&own)),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn name(bot: &Actor, of: &Actor) -> Result<String, Error> {
    of.user_id().map_or(Ok("the system".to_owned()), |id| Ok(format!("@{}", users::get(bot, id)?.username)))
}

fn key(channel: ChannelId) -> String {
    format!("channel/{channel}")
}

patchbay_sdk::register!(Digest: commands, jobs);
