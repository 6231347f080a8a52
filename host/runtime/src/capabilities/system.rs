//! `system`: the right to act as the deployment itself. The grant is all that stands before it.

use patchbay_core::Actor;
use wasmtime::component::{Linker, Resource};

use crate::{
    bindings::wit::{system as wit, types},
    state::{CallState, Own, own},
};

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    async fn get(&mut self) -> wasmtime::Result<Result<Resource<Actor>, types::Error>> {
        self.charge_call(0)?;
        Ok(Ok(self.lend(Actor::SYSTEM)?))
    }
}
