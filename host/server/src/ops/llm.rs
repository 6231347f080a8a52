//! Language models for plugins: whose budget it is, what was embedded before, and the host's own embedder.
//!
//! Owns: budgets, and the cache of embeddings. Must not: know how a provider is asked; `models` does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use patchbay_core::Timestamp;
use patchbay_runtime::{
    HostError, HostErrorKind,
    capabilities::llm::{LlmAnswer, LlmEmbeddings, LlmPrompt, LlmSummary},
};
use patchbay_words::lexical;
use sha2::{Digest as _, Sha256};

use super::{Error, Ops, Thing, plugins::limits::limits_of};
use crate::models::{self, BATCH, ModelError, Models, Pieces};

/// How long the vector of a text is kept.
const CACHED: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);
/// How many are kept.
const MOST_CACHED: i64 = 50_000;
const DAY_MS: i64 = 86_400_000;

/// Why a model did not answer a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// What the model or its provider did.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The plugin has used up what it may.
    #[error("the plugin may use {0} tokens a day")]
    OverBudget(u64),
    /// What an operation says.
    #[error(transparent)]
    Ops(#[from] Error),
}

type Result<T> = std::result::Result<T, LlmError>;

/// The models, and what of budgets is under way.
#[derive(Clone, Debug)]
pub(super) struct Llm {
    pub(super) models: Models,
    /// Tokens of prompts that are being answered and of answers that are not counted yet, by plugin.
    reserved: Arc<Mutex<HashMap<String, u64>>>,
}

impl Llm {
    pub(super) fn new(models: Models) -> Self {
        Self { models, reserved: Arc::default() }
    }

    fn reserved(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts tokens of a plugin's down, and takes others back.
    fn reserve(&self, plugin: &str, more: u64, less: u64) {
        let mut reserved = self.reserved();
        let of_plugin = reserved.entry(plugin.to_owned()).or_default();
        *of_plugin = of_plugin.saturating_add(more).saturating_sub(less);
        if *of_plugin == 0 {
            reserved.remove(plugin);
        }
    }
}

/// What a request to a model may cost and has cost. Counted when it is dropped, however the request ended: a client that
/// goes away has used what was answered until then.
struct Spending {
    ops: Ops,
    plugin: String,
    reserved: u64,
    spent: u64,
}

impl Spending {
    fn is(&mut self, prompt: u32, answer: u32) {
        self.spent = u64::from(prompt) + u64::from(answer);
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let (ops, plugin) = (self.ops.clone(), std::mem::take(&mut self.plugin));
        ops.0.llm.reserve(&plugin, self.spent, self.reserved);
        let (spent, Ok(runtime)) = (self.spent, tokio::runtime::Handle::try_current()) else { return };
        if spent == 0 {
            return;
        }
        // Not on the way of the answer, and to its end if the caller is gone. Until then it stays reserved.
        runtime.spawn(async move {
            let (name, day, tokens) = (plugin.clone(), today(), i64::try_from(spent).unwrap_or(i64::MAX));
            let counted = ops.0.store.write::<_, Error, _>(move |tx| {
                Box::pin(async move { Ok(tx.add_llm_usage(&name, day, tokens).await?) })
            });
            if let Err(error) = counted.await {
                tracing::warn!(plugin, spent, %error, "tokens of models were not counted");
            }
            ops.0.llm.reserve(&plugin, 0, spent);
        });
    }
}

/// Days since 1970, UTC.
fn today() -> i64 {
    Timestamp::now().0.div_euclid(DAY_MS)
}

/// An answer under way for a plugin.
struct Counted {
    pieces: Pieces,
    spending: Spending,
    is_over: bool,
}

#[async_trait]
impl LlmAnswer for Counted {
    async fn next(&mut self) -> std::result::Result<Option<String>, HostError> {
        let next = self.pieces.next().await;
        let LlmSummary { prompt_tokens, answer_tokens, .. } = self.pieces.so_far();
        self.spending.is(prompt_tokens, answer_tokens);
        self.is_over |= matches!(next, Ok(None));
        next.map_err(|error| host_error(error.into()))
    }

    fn summary(&self) -> Option<LlmSummary> {
        self.is_over.then(|| self.pieces.so_far())
    }
}

/// What a plugin is told, with the codes of `wit/llm.wit`.
pub fn host_error(error: LlmError) -> HostError {
    let detail = error.to_string();
    let (kind, code) = match error {
        LlmError::Model(ModelError::NotConfigured(_)) => (HostErrorKind::Unavailable, "llm_not_configured"),
        LlmError::Model(ModelError::Busy(_)) => (HostErrorKind::Unavailable, "llm_busy"),
        LlmError::Model(ModelError::Failed(_)) => (HostErrorKind::Unavailable, "llm_failed"),
        LlmError::OverBudget(_) => (HostErrorKind::LimitExceeded, "llm_budget_exceeded"),
        LlmError::Ops(error) => return crate::plugin_host::host_error(error),
    };
    HostError::new(kind, detail).with_code(code)
}

impl Ops {
    /// The providers of models that the operator set up.
    pub fn models(&self) -> &Models {
        &self.0.llm.models
    }

    /// Tokens that plugins have used today.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn llm_usages(&self) -> super::Result<HashMap<String, i64>> {
        Ok(self.0.store.read().await?.llm_usages(today()).await?.into_iter().collect())
    }

    /// Lets a plugin use about so many tokens, if it has any left. What is answered may be more: a budget is exceeded by no
    /// more than the answers under way.
    async fn spend(&self, plugin: &str, estimate: u32) -> Result<Spending> {
        let (used, most) = {
            let mut conn = self.0.store.read().await.map_err(Error::from)?;
            let row =
                conn.plugin(plugin).await.map_err(Error::from)?.ok_or(Error::NotFound(Thing::Plugin))?;
            let used = conn.llm_usage(plugin, today()).await.map_err(Error::from)?;
            (u64::try_from(used).unwrap_or_default(), limits_of(&row.limits).llm_tokens)
        };
        let estimate = u64::from(estimate);
        let mut reserved = self.0.llm.reserved();
        let under_way = reserved.get(plugin).copied().unwrap_or_default();
        if used.saturating_add(under_way).saturating_add(estimate) > most {
            return Err(LlmError::OverBudget(most));
        }
        reserved.insert(plugin.to_owned(), under_way.saturating_add(estimate));
        drop(reserved);
        Ok(Spending { ops: self.clone(), plugin: plugin.to_owned(), reserved: estimate, spent: 0 })
    }

    /// A whole answer for a plugin.
    ///
    /// # Errors
    /// See [`LlmError`].
    pub async fn complete(&self, plugin: &str, prompt: &LlmPrompt) -> Result<(String, LlmSummary)> {
        let provider = self.models().find(prompt.provider.as_deref())?;
        provider.model(prompt)?;
        let estimate = models::estimate_prompt(prompt);
        let mut spending = self.spend(plugin, estimate).await?;
        // If the caller goes away, the provider may have read the prompt.
        spending.is(estimate, 0);
        match provider.complete(prompt).await {
            Ok((content, summary)) => {
                spending.is(summary.prompt_tokens, summary.answer_tokens);
                Ok((content, summary))
            }
            Err(error) => {
                spending.is(0, 0);
                Err(error.into())
            }
        }
    }

    /// An answer as it comes for a plugin. Dropping it ends the request.
    ///
    /// # Errors
    /// See [`LlmError`].
    pub async fn stream_answer(&self, plugin: &str, prompt: &LlmPrompt) -> Result<Box<dyn LlmAnswer>> {
        let provider = self.models().find(prompt.provider.as_deref())?;
        provider.model(prompt)?;
        let estimate = models::estimate_prompt(prompt);
        let mut spending = self.spend(plugin, estimate).await?;
        let pieces = provider.stream(prompt).await?;
        spending.is(estimate, 0);
        Ok(Box::new(Counted { pieces, spending, is_over: false }))
    }

    /// The model that would embed, and the name of what it makes; none for the host's own embedder.
    fn embedder_of(&self, provider: Option<&str>) -> Result<Option<(&models::Provider, &str)>> {
        let found = match (self.models().find(provider), provider) {
            (Err(_), None) => return Ok(None),
            (found, _) => found?,
        };
        match (&found.about.embedding_model, provider) {
            (Some(model), _) => Ok(Some((found, model))),
            (None, None) => Ok(None),
            (None, Some(name)) => {
                Err(ModelError::NotConfigured(format!("{name} has no model that embeds")).into())
            }
        }
    }

    /// What would embed.
    ///
    /// # Errors
    /// [`LlmError::Model`] if no provider is called so, or it has no model that embeds.
    pub fn embedder(&self, provider: Option<&str>) -> Result<String> {
        Ok(self.embedder_of(provider)?.map_or_else(
            || lexical::NAME.to_owned(),
            |(provider, model)| format!("{}/{model}", provider.about.name),
        ))
    }

    /// Vectors for texts, those that were embedded before from the cache. Without a provider nothing leaves this machine.
    ///
    /// # Errors
    /// See [`LlmError`].
    pub async fn embed(
        &self,
        plugin: &str,
        provider: Option<&str>,
        texts: Vec<String>,
    ) -> Result<LlmEmbeddings> {
        let embedder = self.embedder(provider)?;
        let Some((provider, model)) = self.embedder_of(provider)? else {
            let made = tokio::task::spawn_blocking(move || {
                texts.iter().map(|text| lexical::lexical(text)).collect()
            });
            let vectors = made.await.map_err(|error| Error::Internal(format!("embedding: {error}")))?;
            return Ok(LlmEmbeddings { embedder, vectors });
        };
        let hashes: Vec<Vec<u8>> = texts.iter().map(|text| Sha256::digest(shown(text)).to_vec()).collect();
        let mut known = self.cached(&embedder, &hashes).await?;
        let mut missing: Vec<(&Vec<u8>, &str)> = Vec::new();
        for (hash, text) in hashes.iter().zip(&texts) {
            if !known.contains_key(hash) && missing.iter().all(|(other, _)| *other != hash) {
                missing.push((hash, shown(text)));
            }
        }
        for batch in missing.chunks(BATCH) {
            let asked: Vec<&str> = batch.iter().map(|(_, text)| *text).collect();
            let estimate = asked.iter().map(|text| models::estimate(text)).fold(0, u32::saturating_add);
            let mut spending = self.spend(plugin, estimate).await?;
            spending.is(estimate, 0);
            let made = provider.embed(model, &asked).await.inspect_err(|_| spending.is(0, 0))?;
            spending.is(made.1, 0);
            let made: Vec<_> =
                batch.iter().map(|(hash, _)| (*hash).clone()).zip(made.0.into_iter().map(scaled)).collect();
            self.cache(&embedder, &made).await?;
            known.extend(made);
        }
        let vector = |(hash, text): (&Vec<u8>, &String)| {
            let vector = known.get(hash).cloned().unwrap_or_default();
            if text.trim().is_empty() { vec![0.0; vector.len()] } else { vector }
        };
        let vectors: Vec<Vec<f32>> = hashes.iter().zip(&texts).map(vector).collect();
        let length = vectors.first().map_or(0, Vec::len);
        if vectors.iter().any(|vector| vector.len() != length) {
            // The server behind a name has another model now than when the cache was filled.
            return Err(ModelError::Failed(format!("{embedder} makes vectors of different lengths")).into());
        }
        Ok(LlmEmbeddings { embedder, vectors })
    }

    async fn cached(&self, embedder: &str, hashes: &[Vec<u8>]) -> Result<HashMap<Vec<u8>, Vec<f32>>> {
        let mut conn = self.0.store.read().await.map_err(Error::from)?;
        let found = conn.embeddings(embedder, hashes).await.map_err(Error::from)?;
        Ok(found.into_iter().map(|(hash, bytes)| (hash, floats(&bytes))).collect())
    }

    async fn cache(&self, embedder: &str, made: &[(Vec<u8>, Vec<f32>)]) -> Result<()> {
        let (embedder, now) = (embedder.to_owned(), Timestamp::now().0);
        let rows: Vec<_> = made.iter().map(|(hash, vector)| (hash.clone(), bytes(vector))).collect();
        let kept = self.0.store.write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                for (hash, vector) in &rows {
                    tx.put_embedding(&embedder, (hash, vector), now).await?;
                }
                Ok(())
            })
        });
        Ok(kept.await?)
    }

    /// Forgets vectors of texts that are old or too many.
    pub(super) async fn tidy_embeddings(&self, step: i64) -> super::Result<()> {
        loop {
            let before = Timestamp::now().minus(CACHED).0;
            let gone = self
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.forget_embeddings(before, MOST_CACHED, step).await?) })
                })
                .await?;
            if gone < step.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

/// What a provider is asked for a text: most refuse one with nothing in it.
fn shown(text: &str) -> &str {
    if text.trim().is_empty() { "." } else { text }
}

fn scaled(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    vector
}

/// 32-bit floats, the least significant byte first.
pub(super) fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The same back.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_survive_the_database() {
        let vector = vec![0.25, -1.5, f32::MIN_POSITIVE];
        assert_eq!(floats(&bytes(&vector)), vector);
        assert_eq!(scaled(vec![3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(scaled(vec![0.0]), [0.0]);
    }
}
