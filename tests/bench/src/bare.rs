//! The floor: wasmtime alone, with the same component and the same engine settings, and nothing around it: no
//! permits, budgets, limits or deadlines.
//!
//! Owns: the smallest embedding that can run the reactions plugin. Must not: use the runtime's calls.

use wasmtime::{
    Engine, Store,
    component::{Component, HasSelf, InstancePre, Linker, Resource},
};

use crate::memory_host;

mod bindings {
    #![allow(clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    wasmtime::component::bindgen!({
        inline: "
            package bench:bare;
            world bare {
                import patchbay:plugin/types@0.1.0;
                import patchbay:plugin/http-types@0.1.0;
                import patchbay:plugin/reactions@0.1.0;
                export patchbay:plugin/http@0.1.0;
            }
        ",
        path: "../../wit",
        imports: {
            "patchbay:plugin/types": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        with: {
            "patchbay:plugin/types.actor": super::Actor,
            "patchbay:plugin/http-types.response": super::Response,
        },
    });
}

pub use bindings::patchbay::plugin::http_types::Request;
use bindings::{
    Bare, BareIndices,
    patchbay::plugin::{http_types, reactions, types},
};

/// There is one of each per call, so the handles say it all.
pub struct Actor;
pub struct Response;

/// What the guest wrote.
#[derive(Default)]
pub struct State {
    pub status: u16,
    pub body: Vec<u8>,
}

impl types::HostActor for State {
    fn user_id(&mut self, _: Resource<Actor>) -> wasmtime::Result<Option<u64>> {
        Ok(Some(1))
    }

    fn is_bot(&mut self, _: Resource<Actor>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn is_superuser(&mut self, _: Resource<Actor>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn drop(&mut self, _: Resource<Actor>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl types::Host for State {}
impl http_types::Host for State {}

impl http_types::HostResponse for State {
    async fn start(
        &mut self,
        _: Resource<Response>,
        status: u16,
        _: Vec<(String, String)>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        self.status = status;
        Ok(Ok(()))
    }

    async fn write(
        &mut self,
        _: Resource<Response>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        self.body.extend_from_slice(&bytes);
        Ok(Ok(()))
    }

    async fn flush(&mut self, _: Resource<Response>) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(Ok(()))
    }

    async fn drop(&mut self, _: Resource<Response>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl reactions::Host for State {
    async fn add(
        &mut self,
        _: Resource<Actor>,
        message: u64,
        emoji: String,
    ) -> wasmtime::Result<Result<reactions::Added, types::Error>> {
        let user = patchbay_core::UserId(1);
        let made = memory_host::reaction(user, patchbay_core::MessageId(message as i64), &emoji);
        let reaction = reactions::Reaction {
            id: made.id.0 as u64,
            emoji: made.emoji,
            user: 1,
            message,
            created_at: made.created_at.0 as u64,
        };
        Ok(Ok(reactions::Added { reaction, created: true }))
    }

    async fn remove(
        &mut self,
        _: Resource<Actor>,
        _: u64,
        _: String,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(Ok(()))
    }

    async fn list(
        &mut self,
        _: Resource<Actor>,
        _: u64,
        _: Option<u64>,
        _: u32,
    ) -> wasmtime::Result<Result<Vec<reactions::Reaction>, types::Error>> {
        Ok(Ok(Vec::new()))
    }

    async fn counts(
        &mut self,
        _: Resource<Actor>,
        _: Vec<u64>,
    ) -> wasmtime::Result<Result<Vec<reactions::Count>, types::Error>> {
        Ok(Ok(Vec::new()))
    }
}

/// The plugin, linked.
pub struct Linked {
    pre: InstancePre<State>,
    indices: BareIndices,
}

/// An instance that is called again and again.
pub struct Reused {
    store: Store<State>,
    guest: Bare,
}

impl Linked {
    pub fn new(engine: &Engine, component: &[u8]) -> wasmtime::Result<Self> {
        let component = Component::new(engine, component)?;
        let mut linker = Linker::new(engine);
        Bare::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        let pre = linker.instantiate_pre(&component)?;
        let indices = BareIndices::new(&pre)?;
        Ok(Self { pre, indices })
    }

    pub async fn instance(&self) -> wasmtime::Result<Reused> {
        let mut store = Store::new(self.pre.engine(), State::default());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.pre.instantiate_async(&mut store).await?;
        let guest = self.indices.load(&mut store, &instance)?;
        Ok(Reused { store, guest })
    }
}

impl Reused {
    /// One call; what the guest wrote.
    pub async fn call(&mut self, request: &Request) -> wasmtime::Result<State> {
        let (actor, response) = (Resource::new_borrow(1), Resource::new_borrow(2));
        let guest = self.guest.patchbay_plugin_http();
        let answered = guest.call_handle(&mut self.store, request, Some(actor), response).await?;
        answered.map_err(|error| wasmtime::Error::msg(format!("{error:?}")))?;
        Ok(std::mem::take(self.store.data_mut()))
    }
}
