//! `deployment`: what is the same for everybody.

use async_trait::async_trait;
use patchbay_core::Timestamp;
use wasmtime::component::Linker;

use crate::{
    bindings::wit::deployment as wit,
    state::{CallState, Own, id_out, own},
};

/// What the embedder tells plugins of the deployment.
#[async_trait]
pub trait Deployment {
    /// What time it is.
    async fn now(&self) -> Timestamp;
    /// Where clients reach the server, without a slash at the end.
    async fn public_url(&self) -> String;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    async fn now(&mut self) -> wasmtime::Result<u64> {
        self.charge_call(0)?;
        let host = self.host.clone();
        Ok(id_out(self.wait(Deployment::now(&*host)).await.0))
    }

    async fn public_url(&mut self) -> wasmtime::Result<String> {
        self.charge_call(0)?;
        let host = self.host.clone();
        Ok(self.wait(Deployment::public_url(&*host)).await)
    }
}
