//! Plugins that look at messages before they are stored.
//!
//! Owns: their order, their common budget, and what a failure of one means. Must not: run before the author's right to
//! post is known: who may not post must not be able to make a plugin work.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use patchbay_core::{Actor, ChannelId, MAX_DEPTH, MessageId, Timestamp, permission::Action, text};
use patchbay_runtime::{CallError, Draft, Moment, Plugin, Runtime, Verdict};

use super::{
    Error, NewPost, Ops, Result,
    access::{enter_to, find_message},
    journal::too_deep,
    messages::KEY_LIFE,
};

/// How long all hooks of one message may take together, those of what they post themselves and waiting for the host
/// included. Each has its own limit; this is for many that are slow.
const TOGETHER: Duration = Duration::from_secs(2);

/// The hooks that are installed, in the order in which they are called. Cheap to clone; without any, a message
/// costs one load of a pointer.
#[derive(Clone, Debug, Default)]
pub struct Hooks(Arc<ArcSwap<Vec<Hook>>>);

/// A plugin's hook.
#[derive(Clone, Debug)]
pub struct Hook {
    /// What runs it; gone when the server goes.
    pub runtime: Weak<Runtime>,
    /// Whose; in the version that serves when it is called.
    pub plugin: String,
    /// Whether a failure keeps the message out.
    pub fails_closed: bool,
}

struct Called {
    runtime: Arc<Runtime>,
    plugin: Arc<Plugin>,
    fails_closed: bool,
}

impl Hooks {
    /// Puts these in place of those before.
    pub fn set(&self, hooks: Vec<Hook>) {
        self.0.store(Arc::new(hooks));
    }

    /// Those that are called for this, in order; not the plugin's own for what is done through it.
    fn of(&self, moment: Moment, actor: &Actor) -> Vec<Called> {
        let is_own = |hook: &Hook| actor.via().is_some_and(|via| *via.plugin == *hook.plugin);
        let called = |hook: &Hook| {
            let runtime = hook.runtime.upgrade().filter(|_| !is_own(hook))?;
            let plugin =
                runtime.get(&hook.plugin).filter(|plugin| plugin.manifest().hooks.contains(&moment))?;
            Some(Called { runtime, plugin, fails_closed: hook.fails_closed })
        };
        self.0.load().iter().filter_map(called).collect()
    }
}

impl Ops {
    /// What is to be posted, after all hooks.
    pub(super) async fn hooks_before_post(
        &self,
        actor: &Actor,
        channel: ChannelId,
        mut new: NewPost,
    ) -> Result<NewPost> {
        let hooks = self.0.hooks.of(Moment::Create, actor);
        let Some(author) = actor.user_id().filter(|_| !hooks.is_empty()) else { return Ok(new) };
        let mut conn = self.0.store.read().await?;
        enter_to(&mut conn, actor, channel, Action::Write).await?;
        if let Some(key) = &new.key {
            let since = Timestamp::now().minus(KEY_LIFE);
            if conn.idempotent_message(author, channel, key, since).await?.is_some() {
                // A repeat of what was looked at already.
                return Ok(new);
            }
        }
        drop(conn);
        let draft = Draft {
            moment: Moment::Create,
            message: None,
            channel,
            author,
            is_bot: actor.is_bot(),
            parent: new.parent_id,
            content: std::mem::take(&mut new.content),
            files: new.file_ids.len(),
            depth: actor.depth(),
        };
        new.content = ask(hooks, draft).await?;
        Ok(new)
    }

    /// What a message is to say, after all hooks.
    pub(super) async fn hooks_before_edit(
        &self,
        actor: &Actor,
        id: MessageId,
        content: String,
    ) -> Result<String> {
        let hooks = self.0.hooks.of(Moment::Edit, actor);
        let Some(author) = actor.user_id().filter(|_| !hooks.is_empty()) else { return Ok(content) };
        let mut conn = self.0.store.read().await?;
        let (message, entered) = find_message(&mut conn, actor, id).await?;
        drop(conn);
        let is_text = text::check_text(&content, 0, text::MAX_CONTENT_CHARS).is_ok();
        let is_change = is_text && message.content != content;
        if message.sender.id != author || !entered.allows(Action::Write) || !is_change {
            // Refused or ignored where it is written; no hook is to see it.
            return Ok(content);
        }
        let draft = Draft {
            moment: Moment::Edit,
            message: Some(id),
            channel: message.channel_id,
            author,
            is_bot: actor.is_bot(),
            parent: message.parent_id,
            content,
            files: message.files.len(),
            depth: actor.depth(),
        };
        ask(hooks, draft).await
    }
}

async fn ask(hooks: Vec<Called>, mut draft: Draft) -> Result<String> {
    if draft.depth > MAX_DEPTH {
        // It would be refused where it is written; hooks that post must not call each other until then.
        return Err(too_deep());
    }
    let until = tokio::time::Instant::now() + TOGETHER;
    for hook in hooks {
        let asked = hook.runtime.before_message(&hook.plugin, draft.clone());
        let answer = tokio::time::timeout_at(until, asked).await.unwrap_or(Err(CallError::TimedOut));
        let error = match answer.and_then(|verdict| checked(verdict, &draft)) {
            Ok(Verdict::Allow) => continue,
            Ok(Verdict::Replace(content)) => {
                draft.content = content;
                continue;
            }
            Ok(Verdict::Refuse { code, detail }) => return Err(Error::RefusedByPlugin { code, detail }),
            Err(error) => error,
        };
        let plugin = hook.plugin.name();
        if hook.fails_closed {
            tracing::warn!(plugin, %error, "a hook failed and kept a message out");
            return Err(Error::Unavailable("a check of this message failed; it was not stored".into()));
        }
        tracing::warn!(plugin, %error, "a hook failed and was passed over");
    }
    Ok(draft.content)
}

/// A text that could not have been posted is a failure of the hook, not of the author.
fn checked(verdict: Verdict, draft: &Draft) -> std::result::Result<Verdict, CallError> {
    if let Verdict::Replace(content) = &verdict {
        let least = usize::from(draft.files == 0);
        if text::check_text(content, least, text::MAX_CONTENT_CHARS).is_err() {
            return Err(CallError::InvalidResponse("its text could not have been posted".into()));
        }
    }
    Ok(verdict)
}
