//! Models and vectors for plugins: the runtime's traits, in the same thin way as plugin_host.rs.

use async_trait::async_trait;
use patchbay_runtime::{
    HostError, HostErrorKind,
    capabilities::{
        llm::{Llm, LlmAnswer, LlmEmbeddings, LlmPrompt, LlmProvider, LlmSummary},
        vectors::{Neighbor, VectorCondition, VectorItem, Vectors},
    },
};
use patchbay_words::lexical;

use crate::plugin_host::PluginHost;

type Answer<T> = Result<T, HostError>;

fn not_configured() -> HostError {
    HostError::new(HostErrorKind::Unavailable, "no provider of models is configured")
        .with_code("llm_not_configured")
}

fn no_vectors<T>() -> Answer<T> {
    Err(HostError::new(HostErrorKind::Unavailable, "vectors are not kept here")
        .with_code("vectors_unavailable"))
}

#[async_trait]
impl Llm for PluginHost {
    async fn providers(&self) -> Vec<LlmProvider> {
        Vec::new()
    }

    async fn complete(&self, _: &str, _: LlmPrompt) -> Answer<(String, LlmSummary)> {
        Err(not_configured())
    }

    async fn stream(&self, _: &str, _: LlmPrompt) -> Answer<Box<dyn LlmAnswer>> {
        Err(not_configured())
    }

    fn count_tokens(&self, text: &str) -> u32 {
        u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX)
    }

    async fn embedder(&self, provider: Option<&str>) -> Answer<String> {
        provider.map_or_else(|| Ok(lexical::NAME.to_owned()), |_| Err(not_configured()))
    }

    async fn embed(&self, _: &str, provider: Option<&str>, texts: Vec<String>) -> Answer<LlmEmbeddings> {
        let embedder = self.embedder(provider).await?;
        Ok(LlmEmbeddings { embedder, vectors: texts.iter().map(|text| lexical::lexical(text)).collect() })
    }
}

#[async_trait]
impl Vectors for PluginHost {
    async fn upsert(&self, _: &str, _: &str, _: Vec<VectorItem>) -> Answer<()> {
        no_vectors()
    }

    async fn delete(&self, _: &str, _: &str, _: &[String]) -> Answer<()> {
        no_vectors()
    }

    async fn delete_where(&self, _: &str, _: &str, _: &[VectorCondition]) -> Answer<()> {
        no_vectors()
    }

    async fn clear(&self, _: &str, _: &str) -> Answer<()> {
        no_vectors()
    }

    async fn query(
        &self,
        _: &str,
        _: &str,
        _: Vec<f32>,
        _: Vec<VectorCondition>,
        _: u32,
    ) -> Answer<Vec<Neighbor>> {
        no_vectors()
    }

    async fn count(&self, _: &str, _: &str) -> Answer<u64> {
        no_vectors()
    }
}
