//! Models and vectors for plugins: the runtime's traits over the operations, in the same thin way as plugin_host.rs.

use async_trait::async_trait;
use patchbay_runtime::{
    HostError,
    capabilities::{
        llm::{Llm, LlmAnswer, LlmEmbeddings, LlmPrompt, LlmProvider, LlmSummary},
        vectors::{Neighbor, VectorCondition, VectorItem, Vectors},
    },
};

use crate::{
    models,
    ops::{llm, vectors},
    plugin_host::PluginHost,
};

type Answer<T> = Result<T, HostError>;

#[async_trait]
impl Llm for PluginHost {
    async fn providers(&self) -> Vec<LlmProvider> {
        let provider = |provider: &models::Provider| LlmProvider {
            name: provider.about.name.clone(),
            model: provider.about.model.clone(),
            embedding_model: provider.about.embedding_model.clone(),
        };
        self.0.models().all().iter().map(provider).collect()
    }

    async fn complete(&self, plugin: &str, prompt: LlmPrompt) -> Answer<(String, LlmSummary)> {
        self.0.complete(plugin, &prompt).await.map_err(llm::host_error)
    }

    async fn stream(&self, plugin: &str, prompt: LlmPrompt) -> Answer<Box<dyn LlmAnswer>> {
        self.0.stream_answer(plugin, &prompt).await.map_err(llm::host_error)
    }

    fn count_tokens(&self, text: &str) -> u32 {
        models::estimate(text)
    }

    async fn embedder(&self, provider: Option<&str>) -> Answer<String> {
        self.0.embedder(provider).map_err(llm::host_error)
    }

    async fn embed(&self, plugin: &str, provider: Option<&str>, texts: Vec<String>) -> Answer<LlmEmbeddings> {
        self.0.embed(plugin, provider, texts).await.map_err(llm::host_error)
    }
}

#[async_trait]
impl Vectors for PluginHost {
    async fn upsert(&self, plugin: &str, collection: &str, items: Vec<VectorItem>) -> Answer<()> {
        self.0.vectors_upsert((plugin, collection), items).await.map_err(vectors::host_error)
    }

    async fn delete(&self, plugin: &str, collection: &str, ids: &[String]) -> Answer<()> {
        self.0.vectors_delete((plugin, collection), ids).await.map_err(vectors::host_error)
    }

    async fn delete_where(
        &self,
        plugin: &str,
        collection: &str,
        conditions: &[VectorCondition],
    ) -> Answer<()> {
        self.0.vectors_delete_where((plugin, collection), conditions).await.map_err(vectors::host_error)
    }

    async fn clear(&self, plugin: &str, collection: &str) -> Answer<()> {
        self.0.vectors_clear((plugin, collection)).await.map_err(vectors::host_error)
    }

    async fn query(
        &self,
        plugin: &str,
        collection: &str,
        vector: Vec<f32>,
        conditions: Vec<VectorCondition>,
        limit: u32,
    ) -> Answer<Vec<Neighbor>> {
        let of = (plugin, collection);
        self.0.vectors_query(of, vector, conditions, limit).await.map_err(vectors::host_error)
    }

    async fn count(&self, plugin: &str, collection: &str) -> Answer<u64> {
        self.0.vectors_count((plugin, collection)).await.map_err(vectors::host_error)
    }
}
