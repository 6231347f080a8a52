//! Models, which answer what the test prepared, and embed by words alone.

use async_trait::async_trait;
use patchbay_runtime::{
    HostError, HostErrorKind,
    capabilities::llm::{
        Llm, LlmAnswer, LlmEmbeddings, LlmEnding, LlmPrompt, LlmProvider, LlmRole, LlmSummary,
    },
};
use patchbay_words::lexical::{NAME, lexical};
use serde_json::{Value, json};

use crate::world::{Answer, Scripted, World, error};

/// The one provider, which is there once the test has prepared an answer.
const PROVIDER: &str = "default";
const MODEL: &str = "mock";

fn failure(code: &str) -> HostError {
    let kind = match code {
        "llm_budget_exceeded" => HostErrorKind::LimitExceeded,
        _ => HostErrorKind::Unavailable,
    };
    HostError::new(kind, "the test wants it so").with_code(code.to_owned())
}

fn not_configured() -> HostError {
    let detail = "the test has no answer; give one with `model`";
    error(HostErrorKind::Unavailable, "llm_not_configured", detail)
}

fn tokens(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX)
}

fn shown(prompt: &LlmPrompt) -> Value {
    let role = |role: &LlmRole| match role {
        LlmRole::System => "system",
        LlmRole::User => "user",
        LlmRole::Assistant => "assistant",
    };
    let turns: Vec<_> =
        prompt.turns.iter().map(|(of, content)| json!({ "role": role(of), "content": content })).collect();
    json!({
        "provider": prompt.provider, "model": prompt.model, "turns": turns,
        "max_tokens": prompt.max_tokens, "temperature": prompt.temperature,
    })
}

impl World {
    /// The last one that fits: a test can change its mind.
    fn answer_to(&self, function: &'static str, prompt: &LlmPrompt) -> Answer<(Scripted, LlmSummary)> {
        let arguments = shown(prompt);
        self.call(("llm", function), arguments.clone(), |state| {
            let is_ours = prompt.provider.as_deref().is_none_or(|name| name == PROVIDER);
            let fits = |scripted: &&Scripted| {
                scripted
                    .contains
                    .as_deref()
                    .is_none_or(|part| prompt.turns.iter().any(|(_, content)| content.contains(part)))
            };
            let found =
                state.scripted.iter().rev().find(fits).filter(|_| is_ours).ok_or_else(not_configured)?;
            let scripted = found.clone();
            state.prompts.push(arguments);
            if scripted.pieces.is_empty()
                && let Some(code) = &scripted.error
            {
                return Err(failure(code));
            }
            let summary = LlmSummary {
                model: prompt.model.clone().unwrap_or_else(|| MODEL.to_owned()),
                ending: LlmEnding::Complete,
                prompt_tokens: prompt.turns.iter().map(|(_, content)| tokens(content)).sum(),
                answer_tokens: tokens(&scripted.pieces.concat()),
            };
            Ok((scripted, summary))
        })
    }
}

/// Piece by piece, and then the error if the answer is to break off.
struct Pieces {
    left: std::vec::IntoIter<String>,
    error: Option<String>,
    summary: LlmSummary,
    is_over: bool,
}

#[async_trait]
impl LlmAnswer for Pieces {
    async fn next(&mut self) -> Answer<Option<String>> {
        if let Some(piece) = self.left.next() {
            return Ok(Some(piece));
        }
        if let Some(code) = &self.error {
            return Err(failure(code));
        }
        self.is_over = true;
        Ok(None)
    }

    fn summary(&self) -> Option<LlmSummary> {
        self.is_over.then(|| self.summary.clone())
    }
}

#[async_trait]
impl Llm for World {
    async fn providers(&self) -> Vec<LlmProvider> {
        let is_there = !self.state().scripted.is_empty();
        let provider =
            LlmProvider { name: PROVIDER.to_owned(), model: Some(MODEL.to_owned()), embedding_model: None };
        is_there.then_some(provider).into_iter().collect()
    }

    async fn complete(&self, _: &str, prompt: LlmPrompt) -> Answer<(String, LlmSummary)> {
        let (scripted, summary) = self.answer_to("complete", &prompt)?;
        match scripted.error {
            Some(code) => Err(failure(&code)),
            None => Ok((scripted.pieces.concat(), summary)),
        }
    }

    async fn stream(&self, _: &str, prompt: LlmPrompt) -> Answer<Box<dyn LlmAnswer>> {
        let (Scripted { pieces, error, .. }, summary) = self.answer_to("stream", &prompt)?;
        Ok(Box::new(Pieces { left: pieces.into_iter(), error, summary, is_over: false }))
    }

    fn count_tokens(&self, text: &str) -> u32 {
        tokens(text)
    }

    async fn embedder(&self, provider: Option<&str>) -> Answer<String> {
        match provider {
            None => Ok(NAME.to_owned()),
            Some(_) => Err(not_configured()),
        }
    }

    async fn embed(&self, _: &str, provider: Option<&str>, texts: Vec<String>) -> Answer<LlmEmbeddings> {
        self.call(("llm", "embed"), json!({ "provider": provider, "texts": texts }), |_| match provider {
            None => Ok(LlmEmbeddings {
                embedder: NAME.to_owned(),
                vectors: texts.iter().map(|text| lexical(text)).collect(),
            }),
            Some(_) => Err(not_configured()),
        })
    }
}
