//! `llm`: language models. Which there are, what they cost and how they are reached is the embedder's.

use async_trait::async_trait;
use wasmtime::component::{Linker, Resource};

use crate::{
    HostError, HostErrorKind,
    bindings::wit::{llm as wit, types},
    state::{CallState, Own, own},
};

const MAX_TURNS: usize = 200;
const MAX_PROMPT_BYTES: usize = 1 << 20;
const MAX_NAME_BYTES: usize = 256;
const MAX_TEXTS: usize = 256;
const MAX_TEXT_BYTES: usize = 32 << 10;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlmRole {
    /// Whoever says what the model is there for.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
}

/// What a model is to go on from; checked.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmPrompt {
    /// The provider's name; the default one if none is given.
    pub provider: Option<String>,
    /// The model's name; the provider's own choice if none is given.
    pub model: Option<String>,
    /// 1 to 200, up to 1 MiB together.
    pub turns: Vec<(LlmRole, String)>,
    /// Most tokens of the answer, at least 1.
    pub max_tokens: Option<u32>,
    /// 0 to 2.
    pub temperature: Option<f32>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlmEnding {
    /// It was complete.
    Complete,
    /// It had become as long as it may.
    Length,
    /// The provider holds it back.
    Filtered,
    /// Anything else.
    Other,
}

/// How an answer came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmSummary {
    /// The model, as the provider calls it.
    pub model: String,
    /// Why it ended.
    pub ending: LlmEnding,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub answer_tokens: u32,
}

/// A server of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmProvider {
    /// Its name.
    pub name: String,
    /// The model that answers.
    pub model: Option<String>,
    /// The model that embeds.
    pub embedding_model: Option<String>,
}

/// Vectors for texts.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmEmbeddings {
    /// What made them.
    pub embedder: String,
    /// One for each text, of one length, each of length 1 or of zeros.
    pub vectors: Vec<Vec<f32>>,
}

/// An answer under way. Dropping it ends the request.
#[async_trait]
pub trait LlmAnswer: Send {
    /// The next piece, never empty; none at the end.
    ///
    /// # Errors
    /// It broke off. Then each further call is an error too.
    async fn next(&mut self) -> Result<Option<String>, HostError>;
    /// How it came about, once `next` has told its end.
    fn summary(&self) -> Option<LlmSummary>;
}

/// What the embedder does for plugins that use models. Dropping a future ends the request behind it. Codes are those of
/// `wit/llm.wit`.
#[async_trait]
pub trait Llm {
    /// The providers, the default one first.
    async fn providers(&self) -> Vec<LlmProvider>;
    /// A whole answer.
    async fn complete(&self, plugin: &str, prompt: LlmPrompt) -> Result<(String, LlmSummary), HostError>;
    /// An answer as it comes.
    async fn stream(&self, plugin: &str, prompt: LlmPrompt) -> Result<Box<dyn LlmAnswer>, HostError>;
    /// About how many tokens a text has.
    fn count_tokens(&self, text: &str) -> u32;
    /// What would embed.
    async fn embedder(&self, provider: Option<&str>) -> Result<String, HostError>;
    /// Vectors for 1 to 256 texts of up to 32 KiB each.
    async fn embed(
        &self,
        plugin: &str,
        provider: Option<&str>,
        texts: Vec<String>,
    ) -> Result<LlmEmbeddings, HostError>;
}

/// An answer under way, as guests hold it.
pub struct Answer(Box<dyn LlmAnswer>);

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn invalid(detail: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::Invalid, detail)
}

fn check_name(what: &str, name: Option<&str>) -> Result<(), HostError> {
    match name {
        Some(name) if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.contains(char::is_control) => {
            Err(invalid(format!(
                "{what} must have 1 to {MAX_NAME_BYTES} bytes, none of them a control character"
            )))
        }
        _ => Ok(()),
    }
}

fn size_of_prompt(prompt: &wit::Prompt) -> usize {
    let name = |name: &Option<String>| name.as_ref().map_or(0, String::len);
    let turns: usize = prompt.turns.iter().map(|turn| turn.content.len()).sum();
    turns + name(&prompt.provider) + name(&prompt.model)
}

fn prompt_in(prompt: wit::Prompt) -> Result<LlmPrompt, HostError> {
    check_name("provider", prompt.provider.as_deref())?;
    check_name("model", prompt.model.as_deref())?;
    let size: usize = prompt.turns.iter().map(|turn| turn.content.len()).sum();
    if !(1..=MAX_TURNS).contains(&prompt.turns.len()) || size > MAX_PROMPT_BYTES {
        return Err(invalid(format!("1 to {MAX_TURNS} turns of {MAX_PROMPT_BYTES} bytes together")));
    }
    if prompt.max_tokens == Some(0) {
        return Err(invalid("max-tokens must be at least 1"));
    }
    if prompt.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        return Err(invalid("temperature must be 0 to 2"));
    }
    let role = |role| match role {
        wit::Role::System => LlmRole::System,
        wit::Role::User => LlmRole::User,
        wit::Role::Assistant => LlmRole::Assistant,
    };
    Ok(LlmPrompt {
        provider: prompt.provider,
        model: prompt.model,
        turns: prompt.turns.into_iter().map(|turn| (role(turn.role), turn.content)).collect(),
        max_tokens: prompt.max_tokens,
        temperature: prompt.temperature,
    })
}

fn check_texts(texts: &[String]) -> Result<(), HostError> {
    let size: usize = texts.iter().map(String::len).sum();
    if !(1..=MAX_TEXTS).contains(&texts.len()) || size > MAX_PROMPT_BYTES {
        return Err(invalid(format!("1 to {MAX_TEXTS} texts of {MAX_PROMPT_BYTES} bytes together")));
    }
    if texts.iter().any(|text| text.len() > MAX_TEXT_BYTES) {
        return Err(invalid(format!("a text has at most {MAX_TEXT_BYTES} bytes")));
    }
    Ok(())
}

impl wit::HostAnswer for CallState {
    async fn next(
        &mut self,
        answer: Resource<Answer>,
    ) -> wasmtime::Result<Result<Option<String>, types::Error>> {
        self.charge_call(0)?;
        // Taken out while it is waited for: the state can't be lent twice. It keeps its place in the table.
        let taken = std::mem::replace(&mut self.table.get_mut(&answer)?.0, Box::new(Gone));
        let mut taken = Answer(taken);
        let piece = self.wait_for_model(taken.0.next()).await;
        *self.table.get_mut(&answer)? = taken;
        if let Ok(Some(piece)) = &piece {
            self.charge_bytes(piece.len())?;
        }
        Ok(piece.map_err(types::Error::from))
    }

    async fn summary(&mut self, answer: Resource<Answer>) -> wasmtime::Result<Option<wit::Summary>> {
        self.charge_call(0)?;
        Ok(self.table.get(&answer)?.0.summary().map(Into::into))
    }

    async fn drop(&mut self, answer: Resource<Answer>) -> wasmtime::Result<()> {
        self.table.delete(answer)?;
        Ok(())
    }
}

/// Stands in the table while an answer is waited for; a guest can't look meanwhile.
struct Gone;

#[async_trait]
impl LlmAnswer for Gone {
    async fn next(&mut self) -> Result<Option<String>, HostError> {
        Err(HostError::new(HostErrorKind::Internal, "the answer is gone"))
    }
    fn summary(&self) -> Option<LlmSummary> {
        None
    }
}

impl wit::Host for CallState {
    async fn providers(&mut self) -> wasmtime::Result<Vec<wit::Provider>> {
        self.charge_call(0)?;
        let host = self.host.clone();
        let providers = self.wait(host.providers()).await;
        let name = |name: &Option<String>| name.as_ref().map_or(0, String::len);
        let size = |p: &LlmProvider| p.name.len() + name(&p.model) + name(&p.embedding_model);
        self.charge_bytes(providers.iter().map(size).sum())?;
        Ok(providers.into_iter().map(Into::into).collect())
    }

    async fn complete(
        &mut self,
        prompt: wit::Prompt,
    ) -> wasmtime::Result<Result<wit::Completion, types::Error>> {
        self.charge_call(size_of_prompt(&prompt))?;
        let prompt = match prompt_in(prompt) {
            Ok(prompt) => prompt,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let answered = self.wait_for_model(host.complete(&plugin, prompt)).await;
        if let Ok((content, _)) = &answered {
            self.charge_bytes(content.len())?;
        }
        let completion =
            |(content, summary): (_, LlmSummary)| wit::Completion { content, summary: summary.into() };
        Ok(answered.map(completion).map_err(types::Error::from))
    }

    async fn stream(
        &mut self,
        prompt: wit::Prompt,
    ) -> wasmtime::Result<Result<Resource<Answer>, types::Error>> {
        self.charge_call(size_of_prompt(&prompt))?;
        let prompt = match prompt_in(prompt) {
            Ok(prompt) => prompt,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        match self.wait_for_model(host.stream(&plugin, prompt)).await {
            Ok(answer) => Ok(Ok(self.table.push(Answer(answer))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn count_tokens(&mut self, text: String) -> wasmtime::Result<u32> {
        self.charge_call(text.len())?;
        Ok(self.host.count_tokens(&text))
    }

    async fn embedder(&mut self, provider: Option<String>) -> wasmtime::Result<Result<String, types::Error>> {
        self.charge_call(provider.as_ref().map_or(0, String::len))?;
        if let Err(error) = check_name("provider", provider.as_deref()) {
            return Ok(Err(error.into()));
        }
        let host = self.host.clone();
        let named = self.wait(host.embedder(provider.as_deref())).await;
        self.charge_bytes(named.as_ref().map_or(0, String::len))?;
        Ok(named.map_err(types::Error::from))
    }

    async fn embed(
        &mut self,
        provider: Option<String>,
        texts: Vec<String>,
    ) -> wasmtime::Result<Result<wit::Embeddings, types::Error>> {
        let size: usize = texts.iter().map(String::len).sum();
        self.charge_call(size + provider.as_ref().map_or(0, String::len))?;
        let checked = check_name("provider", provider.as_deref()).and_then(|()| check_texts(&texts));
        if let Err(error) = checked {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let embedded = self.wait_for_model(host.embed(&plugin, provider.as_deref(), texts)).await;
        if let Ok(LlmEmbeddings { embedder, vectors }) = &embedded {
            let numbers: usize = vectors.iter().map(Vec::len).sum();
            self.charge_bytes(embedder.len() + numbers.saturating_mul(size_of::<f32>()))?;
        }
        let embeddings =
            |made: LlmEmbeddings| wit::Embeddings { embedder: made.embedder, vectors: made.vectors };
        Ok(embedded.map(embeddings).map_err(types::Error::from))
    }
}

impl From<LlmProvider> for wit::Provider {
    fn from(LlmProvider { name, model, embedding_model }: LlmProvider) -> Self {
        Self { name, model, embedding_model }
    }
}

impl From<LlmSummary> for wit::Summary {
    fn from(LlmSummary { model, ending, prompt_tokens, answer_tokens }: LlmSummary) -> Self {
        let ending = match ending {
            LlmEnding::Complete => wit::Ending::Complete,
            LlmEnding::Length => wit::Ending::Length,
            LlmEnding::Filtered => wit::Ending::Filtered,
            LlmEnding::Other => wit::Ending::Other,
        };
        Self { model, ending, prompt_tokens, answer_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(turns: usize, each: usize) -> wit::Prompt {
        let turn = || wit::Turn { role: wit::Role::User, content: "a".repeat(each) };
        let turns = std::iter::repeat_with(turn).take(turns).collect();
        wit::Prompt { provider: None, model: None, turns, max_tokens: None, temperature: None }
    }

    #[test]
    fn prompts_and_texts_are_checked() {
        let good = prompt(1, MAX_PROMPT_BYTES);
        assert!(prompt_in(wit::Prompt { temperature: Some(2.0), max_tokens: Some(1), ..good }).is_ok());
        for wrong in [
            prompt(0, 0),
            prompt(MAX_TURNS + 1, 1),
            prompt(1, MAX_PROMPT_BYTES + 1),
            wit::Prompt { max_tokens: Some(0), ..prompt(1, 1) },
            wit::Prompt { temperature: Some(2.1), ..prompt(1, 1) },
            wit::Prompt { temperature: Some(f32::NAN), ..prompt(1, 1) },
            wit::Prompt { provider: Some(String::new()), ..prompt(1, 1) },
            wit::Prompt { model: Some("a\nb".to_owned()), ..prompt(1, 1) },
        ] {
            assert_eq!(prompt_in(wrong).map_err(|error| error.kind), Err(HostErrorKind::Invalid));
        }
        let texts = |number: usize, each: usize| check_texts(&vec!["a".repeat(each); number]).is_ok();
        assert!(texts(MAX_TEXTS, 4_096) && texts(1, MAX_TEXT_BYTES) && texts(1, 0));
        assert!(!texts(0, 0) && !texts(MAX_TEXTS + 1, 0) && !texts(1, MAX_TEXT_BYTES + 1));
        assert!(!texts(MAX_TEXTS, 4_097));
    }
}
