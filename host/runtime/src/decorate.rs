//! Decorating a page of messages: every plugin that can, side by side, each within its budget.
//!
//! Owns: the merge of what plugins say of messages. Must not: let one plugin's failure touch another's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use patchbay_core::{Actor, MessageId};
use tokio::task::JoinSet;

use crate::{
    CallError,
    bindings::Decoration,
    call::{Call, Context, measured, within},
    load::Plugin,
    permits::Permit,
    state::{id_in, id_out},
    stats::CallKind,
};

/// Most messages of one call of a decorator (`wit/decorator.wit`).
const PAGE: usize = 200;

/// What plugins add to messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decorations {
    /// For each message that got any: plugin names, sorted, with a JSON value that has been checked.
    pub by_message: HashMap<MessageId, Vec<(String, String)>>,
    /// The plugins that failed or missed their budget, sorted. Nothing of theirs is in `by_message`.
    pub omitted: Vec<String>,
    /// Why, for the log.
    pub failures: Vec<(String, CallError)>,
}

type Added = Result<Vec<(MessageId, String)>, CallError>;

/// Asks all `plugins` that decorate.
pub(crate) async fn decorate(
    context: &Arc<Context>,
    plugins: Vec<Arc<Plugin>>,
    viewer: &Actor,
    ids: &[MessageId],
) -> Decorations {
    let mut decorators: Vec<_> = plugins.into_iter().filter(|plugin| plugin.decorates()).collect();
    if ids.is_empty() || decorators.is_empty() {
        return Decorations::default();
    }
    let mut seen = HashSet::with_capacity(ids.len());
    let ids: Arc<[MessageId]> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
    let names: Vec<_> = decorators.iter().map(|plugin| plugin.name().to_owned()).collect();
    let mut results = Vec::with_capacity(decorators.len());
    // The last one runs here, for nothing: with a single decorator no task is made at all.
    let last = decorators.pop();
    let mut others = JoinSet::new();
    for plugin in decorators {
        let (context, viewer, ids) = (Arc::clone(context), viewer.clone(), Arc::clone(&ids));
        others.spawn(async move {
            let added = ask(&context, &plugin, &viewer, &ids).await;
            (plugin, added)
        });
    }
    if let Some(plugin) = last {
        let added = ask(context, &plugin, viewer, &ids).await;
        results.push((plugin, added));
    }
    while let Some(joined) = others.join_next().await {
        // A task that panicked has no name here; its plugin is missing from the results.
        results.extend(joined);
    }
    results.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
    let answered: HashSet<_> = results.iter().map(|(plugin, _)| plugin.name().to_owned()).collect();
    let mut decorations = merge(results);
    decorations.omitted.extend(names.into_iter().filter(|name| !answered.contains(name)));
    decorations.omitted.sort();
    decorations
}

fn merge(results: Vec<(Arc<Plugin>, Added)>) -> Decorations {
    let mut decorations = Decorations::default();
    for (plugin, added) in results {
        let name = plugin.name().to_owned();
        match added {
            Ok(added) => {
                for (id, json) in added {
                    decorations.by_message.entry(id).or_default().push((name.clone(), json));
                }
            }
            Err(error) => {
                decorations.omitted.push(name.clone());
                decorations.failures.push((name, error));
            }
        }
    }
    decorations
}

async fn ask(context: &Context, plugin: &Plugin, viewer: &Actor, ids: &[MessageId]) -> Added {
    let mut added = Vec::with_capacity(ids.len());
    for page in ids.chunks(PAGE) {
        let work = async {
            // To wait for a permit is no failure of the plugin's.
            let permit = plugin.permits.acquire().await?;
            within(plugin.limits.decorate, Duration::ZERO, ask_page(context, plugin, viewer, page, permit))
                .await
        };
        added.extend(measured(context, plugin, CallKind::Decorator, work).await?);
    }
    Ok(added)
}

async fn ask_page(
    context: &Context,
    plugin: &Plugin,
    viewer: &Actor,
    ids: &[MessageId],
    permit: Permit,
) -> Added {
    let Some(export) = &plugin.exports.decorator else { return Ok(Vec::new()) };
    let mut call = Call::start(context, plugin, plugin.limits.decorate.cpu, 1, Some(permit)).await?;
    let guest = export.load(&mut call.store, &call.instance)?;
    let lent = call.store.data_mut().lend_caller(viewer.clone())?;
    let wanted: Vec<u64> = ids.iter().map(|id| id_out(id.0)).collect();
    let answered = guest.patchbay_plugin_decorator().call_decorate(&mut call.store, lent, &wanted).await;
    let decorations = call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))?;
    check(decorations, ids, plugin.limits.decoration_bytes)
}

/// Keeps one decoration for each message that was asked for. Anything that is no JSON, or too much of it,
/// fails the plugin: half of an answer would look like all of it.
fn check(decorations: Vec<Decoration>, ids: &[MessageId], max_bytes: usize) -> Added {
    let mut wanted: HashSet<_> = ids.iter().copied().collect();
    let mut kept = Vec::with_capacity(decorations.len().min(ids.len()));
    for Decoration { message, json } in decorations {
        let id = MessageId(id_in(message));
        if !wanted.remove(&id) {
            continue;
        }
        if json.len() > max_bytes {
            return Err(CallError::LimitExceeded(format!("a decoration has more than {max_bytes} bytes")));
        }
        serde_json::from_str::<serde_json::Value>(&json)
            .map_err(|error| CallError::InvalidResponse(format!("a decoration is no JSON: {error}")))?;
        kept.push((id, json));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(decorations: &[(u64, &str)]) -> Result<Vec<(i64, String)>, String> {
        let decorations = decorations
            .iter()
            .map(|(message, json)| Decoration { message: *message, json: (*json).to_owned() })
            .collect();
        check(decorations, &[MessageId(1), MessageId(2)], 10)
            .map(|kept| kept.into_iter().map(|(id, json)| (id.0, json)).collect())
            .map_err(|error| error.code().to_owned())
    }

    #[test]
    fn only_what_was_asked_for_is_kept_and_once() {
        assert_eq!(
            checked(&[(3, "[]"), (2, "[1]"), (2, "[2]"), (u64::MAX, "[]")]),
            Ok(vec![(2, "[1]".to_owned())])
        );
    }

    #[test]
    fn what_is_no_json_fails_the_plugin() {
        assert_eq!(checked(&[(1, "[")]), Err("plugin_invalid_response".to_owned()));
        assert_eq!(checked(&[(1, "[] []")]), Err("plugin_invalid_response".to_owned()));
        assert_eq!(checked(&[(1, "[1,2,3,4,5]")]), Err("plugin_limit_exceeded".to_owned()));
    }
}
