//! Servers of language models that speak OpenAI's API: asked, streamed from, and what they do wrong.
//!
//! Owns: the clients and the shapes of what is sent and answered. Must not: know plugins, budgets or the database. Keys leave
//! this module only in requests to their own provider.

mod patience;

use std::{pin::Pin, sync::Arc, time::Duration};

use async_openai::{Client, config::OpenAIConfig, error::OpenAIError};
use futures_util::{Stream, StreamExt as _};
use patchbay_runtime::capabilities::llm::{LlmEnding, LlmPrompt, LlmRole, LlmSummary};
use reqwest::redirect;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config;
use patience::Patience;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);
/// Texts that are embedded by one request: small servers take no more.
pub const BATCH: usize = 64;

/// Why a model did not do what it was asked. The sentences hold nothing of what was asked, answered, or kept secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// There is no such provider, or it has no such model.
    #[error("{0}")]
    NotConfigured(String),
    /// The provider has too much to do.
    #[error("{0}")]
    Busy(String),
    /// Anything else that a provider does wrong.
    #[error("{0}")]
    Failed(String),
}

type Result<T> = std::result::Result<T, ModelError>;

/// The providers that the operator set up. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Models(Arc<Vec<Provider>>);

/// A provider.
#[derive(Debug)]
pub struct Provider {
    /// What the operator set.
    pub about: config::Provider,
    /// None if the client could not be made.
    client: Option<Client<OpenAIConfig>>,
}

impl Models {
    /// Clients for the providers of these settings. Goes nowhere.
    pub fn new(config: &config::Ai) -> Self {
        if config.providers.is_empty() {
            return Self(Arc::default());
        }
        let http = reqwest::Client::builder()
            // A key is for the server that it was set for.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("Patchbay/", env!("CARGO_PKG_VERSION")))
            .build()
            .inspect_err(|error| tracing::error!(%error, "models can't be asked"))
            .ok();
        let provider = |about: &config::Provider| {
            let client = http.clone().map(|http| {
                let key = about.api_key.as_ref().map_or("", |key| key.0.as_str());
                // Each is set, so that none is taken from variables that are not this program's.
                let access = OpenAIConfig::new()
                    .with_api_base(&about.base_url)
                    .with_api_key(key)
                    .with_org_id("")
                    .with_project_id("");
                let patience = Patience::new(http.clone(), &about.name, config.timeout);
                Client::build(http, access).with_http_service(patience)
            });
            Provider { about: about.clone(), client }
        };
        Self(Arc::new(config.providers.iter().map(provider).collect()))
    }

    /// All, the default one first.
    pub fn all(&self) -> &[Provider] {
        &self.0
    }

    /// The provider of that name; the default one without a name.
    ///
    /// # Errors
    /// [`ModelError::NotConfigured`].
    pub fn find(&self, name: Option<&str>) -> Result<&Provider> {
        let name = name.unwrap_or(config::DEFAULT_PROVIDER);
        self.0.iter().find(|provider| provider.about.name == name).ok_or_else(|| {
            ModelError::NotConfigured(if name == config::DEFAULT_PROVIDER {
                "no provider of models is set up (ai.base_url)".to_owned()
            } else {
                format!("no provider of models is called {name:?}")
            })
        })
    }
}

/// About how many tokens a text has: four ASCII characters are one, and so is each other character. Real tokenizers differ by
/// model; for English they come to as many, for other scripts to fewer.
pub fn estimate(text: &str) -> u32 {
    let (ascii, other) = text.chars().fold((0_usize, 0_usize), |(ascii, other), c| {
        if c.is_ascii() { (ascii + 1, other) } else { (ascii, other + 1) }
    });
    u32::try_from(ascii.div_ceil(4) + other).unwrap_or(u32::MAX)
}

/// The same of a prompt, with what goes around each turn.
pub fn estimate_prompt(prompt: &LlmPrompt) -> u32 {
    prompt.turns.iter().map(|(_, content)| estimate(content).saturating_add(4)).fold(0, u32::saturating_add)
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

#[derive(Debug, Deserialize)]
struct Spoken {
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// Of a whole answer.
    message: Option<Spoken>,
    /// Of a piece.
    delta: Option<Spoken>,
    finish_reason: Option<String>,
}

/// A whole answer, or a piece of one. Servers leave out or add what they like; this is what is needed.
#[derive(Debug, Deserialize)]
struct Answered {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// What some send in a stream instead of closing it.
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Embedded {
    data: Vec<Embedding>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Embedding {
    index: Option<usize>,
    embedding: Vec<f32>,
}

fn ending(reason: &str) -> LlmEnding {
    match reason {
        "stop" => LlmEnding::Complete,
        "length" => LlmEnding::Length,
        "content_filter" => LlmEnding::Filtered,
        _ => LlmEnding::Other,
    }
}

impl Provider {
    fn failed(&self, what: &str) -> ModelError {
        ModelError::Failed(format!("{} {what}", self.about.name))
    }

    fn client(&self) -> Result<&Client<OpenAIConfig>> {
        self.client.as_ref().ok_or_else(|| self.failed("can't be asked"))
    }

    fn error(&self, error: OpenAIError) -> ModelError {
        match error {
            OpenAIError::Boxed(inner) => match inner.downcast::<ModelError>() {
                Ok(error) => *error,
                Err(_) => self.failed("can't be asked"),
            },
            OpenAIError::JSONDeserialize(..) => self.failed("answered what can't be understood"),
            _ => self.failed("broke off"),
        }
    }

    /// The model that answers this prompt.
    ///
    /// # Errors
    /// [`ModelError::NotConfigured`].
    pub fn model(&self, prompt: &LlmPrompt) -> Result<String> {
        prompt.model.clone().or_else(|| self.about.model.clone()).ok_or_else(|| {
            ModelError::NotConfigured(format!("{} has no model that answers (ai.model)", self.about.name))
        })
    }

    fn request(&self, prompt: &LlmPrompt, is_streamed: bool) -> Result<Value> {
        let role = |role: &LlmRole| match role {
            LlmRole::System => "system",
            LlmRole::User => "user",
            LlmRole::Assistant => "assistant",
        };
        let turns: Vec<_> = prompt
            .turns
            .iter()
            .map(|(of, content)| json!({ "role": role(of), "content": content }))
            .collect();
        let mut request = json!({ "model": self.model(prompt)?, "messages": turns, "stream": is_streamed });
        let fields = [
            ("max_tokens", prompt.max_tokens.map(Value::from)),
            // As it was written: 0.2 and not 0.20000000298.
            (
                "temperature",
                prompt.temperature.and_then(|t| t.to_string().parse::<f64>().ok()).map(Value::from),
            ),
            ("stream_options", is_streamed.then(|| json!({ "include_usage": true }))),
        ];
        if let Some(request) = request.as_object_mut() {
            request.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        Ok(request)
    }

    /// A whole answer. Dropping the future ends the request.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub async fn complete(&self, prompt: &LlmPrompt) -> Result<(String, LlmSummary)> {
        let request = self.request(prompt, false)?;
        let answered: Answered =
            self.client()?.chat().create_byot(request).await.map_err(|error| self.error(error))?;
        let choice = answered.choices.into_iter().next().filter(|_| answered.error.is_none());
        let Some(Choice { message: Some(Spoken { content }), finish_reason, .. }) = choice else {
            return Err(self.failed("answered what can't be understood"));
        };
        let content = content.unwrap_or_default();
        let mut summary = Summing::new(self.model(prompt)?, prompt);
        summary.add(&content);
        summary.ending = Some(ending(finish_reason.as_deref().unwrap_or("stop")));
        summary.told(answered.model, answered.usage);
        Ok((content, summary.summary().unwrap_or_else(|| summary.so_far())))
    }

    /// An answer as it comes; returns once the provider has begun. Dropping it ends the request.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub async fn stream(&self, prompt: &LlmPrompt) -> Result<Pieces> {
        let request = self.request(prompt, true)?;
        let pieces =
            self.client()?.chat().create_stream_byot(request).await.map_err(|error| self.error(error))?;
        let summary = Summing::new(self.model(prompt)?, prompt);
        Ok(Pieces { pieces, provider: self.about.name.clone(), summary, failed: None })
    }

    /// Vectors of 1 to [`BATCH`] texts as the model makes them, of one length, and the tokens used.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub async fn embed(&self, model: &str, texts: &[&str]) -> Result<(Vec<Vec<f32>>, u32)> {
        let request = json!({ "model": model, "input": texts, "encoding_format": "float" });
        let embedded: Embedded =
            self.client()?.embeddings().create_byot(request).await.map_err(|error| self.error(error))?;
        let tokens = embedded.usage.filter(|usage| usage.prompt_tokens > 0).map_or_else(
            || texts.iter().map(|text| estimate(text)).fold(0, u32::saturating_add),
            |usage| usage.prompt_tokens,
        );
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts.len()];
        for (at, of) in embedded.data.into_iter().enumerate() {
            if let Some(place) = vectors.get_mut(of.index.unwrap_or(at)) {
                *place = Some(of.embedding);
            }
        }
        let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
        let is_usable = |vectors: &Vec<Vec<f32>>| {
            let length = vectors.first().map_or(0, Vec::len);
            (1..=4_096).contains(&length)
                && vectors.iter().all(|v| v.len() == length && v.iter().all(|x| x.is_finite()))
        };
        let vectors =
            vectors.filter(is_usable).ok_or_else(|| self.failed("answered vectors that can't be used"))?;
        Ok((vectors, tokens))
    }
}

/// What becomes known of an answer while it comes.
#[derive(Debug)]
struct Summing {
    model: String,
    ending: Option<LlmEnding>,
    usage: Option<Usage>,
    prompt_estimate: u32,
    answer_estimate: u32,
}

impl Summing {
    fn new(model: String, prompt: &LlmPrompt) -> Self {
        let prompt_estimate = estimate_prompt(prompt);
        Self { model, ending: None, usage: None, prompt_estimate, answer_estimate: 0 }
    }

    fn add(&mut self, piece: &str) {
        self.answer_estimate = self.answer_estimate.saturating_add(estimate(piece));
    }

    fn told(&mut self, model: Option<String>, usage: Option<Usage>) {
        if let Some(model) = model.filter(|model| !model.is_empty()) {
            self.model = model.chars().take(256).collect();
        }
        self.usage = usage.or(self.usage.take());
    }

    /// What is known, whether or not it has ended.
    fn so_far(&self) -> LlmSummary {
        let told = self.usage.as_ref().map(|usage| (usage.prompt_tokens, usage.completion_tokens));
        let (prompt_tokens, answer_tokens) = told
            .filter(|(prompt, answer)| *prompt > 0 || *answer > 0)
            .unwrap_or((self.prompt_estimate, self.answer_estimate));
        LlmSummary {
            model: self.model.clone(),
            ending: self.ending.unwrap_or(LlmEnding::Other),
            prompt_tokens,
            answer_tokens,
        }
    }

    fn summary(&self) -> Option<LlmSummary> {
        self.ending.map(|_| self.so_far())
    }
}

type Arriving = Pin<Box<dyn Stream<Item = std::result::Result<Answered, OpenAIError>> + Send>>;

/// An answer under way.
pub struct Pieces {
    pieces: Arriving,
    provider: String,
    summary: Summing,
    /// It broke off before, and for this reason.
    failed: Option<ModelError>,
}

impl Pieces {
    /// The next piece, never empty; none at the end.
    ///
    /// # Errors
    /// [`ModelError::Failed`] if it breaks off, from then on always.
    pub async fn next(&mut self) -> Result<Option<String>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        loop {
            let failed = |what: &str| ModelError::Failed(format!("{} {what}", self.provider));
            let error = match self.pieces.next().await {
                // Servers end by a reason; a connection that is cut has none.
                None if self.summary.ending.is_some() => return Ok(None),
                None => failed("broke off"),
                Some(Err(OpenAIError::JSONDeserialize(..))) => failed("answered what can't be understood"),
                Some(Err(_)) => failed("broke off"),
                Some(Ok(Answered { error: Some(_), .. })) => failed("broke off with an error"),
                Some(Ok(Answered { model, choices, usage, .. })) => {
                    self.summary.told(model, usage);
                    let Some(choice) = choices.into_iter().next() else { continue };
                    if let Some(reason) = choice.finish_reason {
                        self.summary.ending = Some(ending(&reason));
                    }
                    let piece = choice.delta.and_then(|delta| delta.content).unwrap_or_default();
                    if piece.is_empty() {
                        continue;
                    }
                    self.summary.add(&piece);
                    return Ok(Some(piece));
                }
            };
            self.failed = Some(error.clone());
            return Err(error);
        }
    }

    /// How it came about, as far as that is known.
    pub fn so_far(&self) -> LlmSummary {
        self.summary.so_far()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_estimated() {
        assert_eq!((estimate(""), estimate("hello"), estimate("東京")), (0, 2, 2));
    }

    #[test]
    fn providers_are_found_by_name() {
        let models = Models::new(&config::Ai { timeout: Duration::from_secs(1), providers: Vec::new() });
        assert!(matches!(models.find(None), Err(ModelError::NotConfigured(_))));
        assert!(matches!(models.find(Some("other")), Err(ModelError::NotConfigured(_))));
    }
}
