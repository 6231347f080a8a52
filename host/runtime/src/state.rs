//! What the host keeps for one call of a plugin: whom it acts for, what it has used up, its answer.
//!
//! Owns: the data of a store and the budgets that host functions draw on. Must not: hold anything that
//! outlives the call.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use patchbay_core::{Actor, Via};
use wasmtime::component::{Linker, Resource, ResourceTable};

use crate::{
    Host, HostError, HostErrorKind,
    bindings::wit::types,
    capabilities::{llm::Answer, log::LogBudget},
    cpu,
    limits::{Exceeded, Limits, TICK},
    load::Plugin,
    manifest::Manifest,
    memory::MemoryLimiter,
    response::Response,
    stats::Stats,
    wall,
};

/// The data of a store.
pub(crate) struct CallState {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) plugin: Arc<str>,
    /// That of the version that is called.
    pub(crate) manifest: Arc<Manifest>,
    /// The plugin's bot user, once it was asked for.
    pub(crate) bot: Option<Actor>,
    /// How many plugins stand between a person and what this call does.
    depth: u8,
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryLimiter,
    pub(crate) cpu: CpuBudget,
    pub(crate) log: LogBudget,
    /// Made when a guest first asks for something of WASI; most never do.
    pub(crate) wasi: Option<Box<wasmtime_wasi::WasiCtx>>,
    bytes_left: usize,
    calls_left: u32,
    /// None: as many as calls are allowed.
    commits_left: Option<u32>,
    stats: Arc<Stats>,
    /// Whom the call is lent to act for, to be taken back when it ends.
    lent: Option<Resource<Actor>>,
    /// What it used has been counted.
    is_settled: bool,
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Counts for how long the guest ran.
#[derive(Debug)]
pub(crate) struct CpuBudget {
    ticks_left: u64,
    ticks_used: u32,
    waited: bool,
    /// What it ran and was not charged for yet.
    ran: Duration,
}

impl CpuBudget {
    pub(crate) fn new(cpu: Duration) -> Self {
        let ticks = cpu.as_nanos().div_ceil(TICK.as_nanos().max(1));
        let ticks_left = u64::try_from(ticks).unwrap_or(u64::MAX);
        Self { ticks_left, ticks_used: 0, waited: false, ran: Duration::ZERO }
    }

    /// Time in the guest so far.
    fn used(&self) -> Duration {
        TICK.saturating_mul(self.ticks_used).saturating_add(self.ran)
    }

    /// The guest was seen running after a tick.
    pub(crate) fn tick(&mut self) -> Result<(), Exceeded> {
        self.ran = self.ran.saturating_add(cpu::lap());
        let ran = u32::try_from(self.ran.as_millis() / TICK.as_millis().max(1)).unwrap_or(u32::MAX);
        self.ran = self.ran.saturating_sub(TICK.saturating_mul(ran));
        self.ticks_used = self.ticks_used.saturating_add(ran);
        // At least the tick itself, unless it fell into a time in which the guest waited for the host.
        let least = u64::from(!std::mem::take(&mut self.waited));
        self.ticks_left = self.ticks_left.checked_sub(u64::from(ran).max(least)).ok_or(Exceeded::Cpu)?;
        Ok(())
    }

    /// From here on the host works.
    pub(crate) fn pause(&mut self) {
        self.ran = self.ran.saturating_add(cpu::lap());
    }

    /// The guest waited for the host for so long. Shorter waits can't have hidden a tick of their own, and
    /// forgiving them would let a guest compute for nothing between two quick calls.
    pub(crate) fn waited(&mut self, since: Instant) {
        // What the host computed meanwhile is not the guest's.
        cpu::lap();
        self.waited |= since.elapsed() >= TICK;
    }
}

impl CallState {
    pub(crate) fn new(host: Arc<dyn Host>, plugin: Arc<str>, depth: u8, of: &Plugin, cpu: CpuBudget) -> Self {
        let (limits, stats) = (&of.limits, Arc::clone(&of.stats));
        let manifest = Arc::clone(&of.manifest);
        stats.began();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            host,
            plugin,
            manifest,
            bot: None,
            depth,
            table,
            memory: MemoryLimiter::new(limits.memory_bytes),
            cpu,
            log: LogBudget::new(limits.log_lines),
            wasi: None,
            bytes_left: limits.host_total_bytes,
            calls_left: limits.host_calls,
            commits_left: None,
            stats,
            lent: None,
            is_settled: false,
        }
    }

    /// The next call of an instance that has served one: with budgets of its own, and acting for nobody yet. What the guest
    /// has in its memory stays, and counts.
    pub(crate) fn renew(&mut self, depth: u8, limits: &Limits, cpu: CpuBudget) {
        self.stats.began();
        self.is_settled = false;
        (self.bot, self.depth, self.cpu) = (None, depth, cpu);
        self.log.renew();
        (self.bytes_left, self.calls_left) = (limits.host_total_bytes, limits.host_calls);
        self.commits_left = None;
    }

    /// Counts what the call used, once.
    pub(crate) fn settle(&mut self) {
        if !std::mem::replace(&mut self.is_settled, true) {
            self.stats.used(self.cpu.used(), self.memory.used());
        }
    }

    /// Whether the guest kept what it can act with, or an answer that is under way: a handle of one call must not be there
    /// in another's.
    pub(crate) fn holds_rights(&mut self) -> bool {
        self.table
            .iter_mut()
            .any(|entry| entry.is::<Actor>() || entry.is::<Response>() || entry.is::<Answer>())
    }

    /// A handle that the guest borrows for the length of the call.
    pub(crate) fn lend_caller(&mut self, actor: Actor) -> wasmtime::Result<Resource<Actor>> {
        let lent = self.lend(actor)?;
        let borrowed = Resource::new_borrow(lent.rep());
        self.lent = Some(lent);
        Ok(borrowed)
    }

    /// Takes back what was lent.
    pub(crate) fn take_back(&mut self) -> wasmtime::Result<()> {
        if let Some(lent) = self.lent.take() {
            self.table.delete(lent)?;
        }
        Ok(())
    }

    /// From now on the plugin's own state can be written once.
    pub(crate) fn allow_one_commit(&mut self) {
        self.commits_left = Some(1);
    }

    /// Counts a write of the plugin's own state.
    pub(crate) fn charge_commit(&mut self) -> Result<(), HostError> {
        if let Some(left) = &mut self.commits_left {
            let why = "activate writes the plugin's state once, in one commit";
            *left = left.checked_sub(1).ok_or_else(|| HostError::new(HostErrorKind::LimitExceeded, why))?;
        }
        Ok(())
    }

    /// Counts one call of a host function that brought `bytes` with it.
    pub(crate) fn charge_call(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or(Exceeded::HostCalls)?;
        self.charge_bytes(bytes)
    }

    /// Counts bytes that a host function hands out.
    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Exceeded::HostData)?;
        Ok(())
    }

    /// A handle with which the guest acts as `actor`. What it does is marked as done through this plugin.
    pub(crate) fn lend(&mut self, actor: Actor) -> wasmtime::Result<Resource<Actor>> {
        let via = Via { plugin: Arc::clone(&self.plugin), depth: self.depth };
        Ok(self.table.push(actor.through(via))?)
    }

    /// How many plugins stand between a person and what this call does.
    pub(crate) fn depth(&self) -> u8 {
        self.depth
    }

    /// The actor behind a handle.
    pub(crate) fn actor(&self, handle: &Resource<Actor>) -> wasmtime::Result<Actor> {
        Ok(self.table.get(handle)?.clone())
    }

    /// Waits for the host without its costing the guest CPU time.
    pub(crate) async fn wait<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.cpu.pause();
        let since = Instant::now();
        let value = work.await;
        self.cpu.waited(since);
        value
    }

    /// Waits for a model, which takes as long as it takes: within bounds of its own the call's time stands still.
    pub(crate) async fn wait_for_model<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.wait(wall::paused(work)).await
    }
}

impl types::HostActor for CallState {
    fn user_id(&mut self, actor: Resource<Actor>) -> wasmtime::Result<Option<types::UserId>> {
        self.charge_call(0)?;
        Ok(self.table.get(&actor)?.user_id().map(|id| id_out(id.0)))
    }

    fn is_bot(&mut self, actor: Resource<Actor>) -> wasmtime::Result<bool> {
        self.charge_call(0)?;
        Ok(self.table.get(&actor)?.is_bot())
    }

    fn is_superuser(&mut self, actor: Resource<Actor>) -> wasmtime::Result<bool> {
        self.charge_call(0)?;
        Ok(self.table.get(&actor)?.is_superuser())
    }

    fn drop(&mut self, actor: Resource<Actor>) -> wasmtime::Result<()> {
        // Guests hold borrows only, so this is never reached; answering for it costs nothing.
        self.table.delete(actor)?;
        Ok(())
    }
}

impl types::Host for CallState {}

/// What an interface's generated `add_to_linker` needs: the state itself is the host.
pub(crate) type Own = wasmtime::component::HasSelf<CallState>;

pub(crate) fn own(state: &mut CallState) -> &mut CallState {
    state
}

/// Links what every component may import without a grant.
pub(crate) fn link_free(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, Own>(linker, own)?;
    crate::bindings::wit::http_types::add_to_linker::<_, Own>(linker, own)
}

/// An id on its way to a guest. Ids of the host are never negative.
pub(crate) fn id_out(id: i64) -> u64 {
    u64::try_from(id).unwrap_or_default()
}

/// An id that a guest gave. What is too large for an id is the largest, which names nothing.
pub(crate) fn id_in(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// A count on its way to a guest, cut to what fits.
pub(crate) fn count_out(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}

impl From<HostError> for types::Error {
    fn from(HostError { kind, code, detail }: HostError) -> Self {
        let reason = types::Reason { code: code.into_owned(), detail };
        match kind {
            HostErrorKind::NotFound => Self::NotFound(reason),
            HostErrorKind::Forbidden => Self::Forbidden(reason),
            HostErrorKind::Invalid => Self::Invalid(reason),
            HostErrorKind::Conflict => Self::Conflict(reason),
            HostErrorKind::LimitExceeded => Self::LimitExceeded(reason),
            HostErrorKind::Unavailable => Self::Unavailable(reason),
            // The host has logged why; the plugin's author is not its operator.
            HostErrorKind::Internal => {
                Self::Internal(types::Reason { detail: "the host failed".to_owned(), ..reason })
            }
        }
    }
}

/// Most characters of what a guest says of a failure.
const REASON_CHARS: usize = 500;

/// A guest's words, as far as they are kept: cut, and without what PostgreSQL has no place for.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(REASON_CHARS).collect()
}

impl From<types::Error> for HostError {
    fn from(error: types::Error) -> Self {
        let (kind, reason) = match error {
            types::Error::NotFound(reason) => (HostErrorKind::NotFound, reason),
            types::Error::Forbidden(reason) => (HostErrorKind::Forbidden, reason),
            types::Error::Invalid(reason) => (HostErrorKind::Invalid, reason),
            types::Error::Conflict(reason) => (HostErrorKind::Conflict, reason),
            types::Error::LimitExceeded(reason) => (HostErrorKind::LimitExceeded, reason),
            types::Error::Unavailable(reason) => (HostErrorKind::Unavailable, reason),
            types::Error::Internal(reason) | types::Error::Other(reason) => (HostErrorKind::Internal, reason),
        };
        // It is kept and shown in places that have no room for a guest's whole memory.
        Self::new(kind, shortened(&reason.detail)).with_code(reason.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_by_ticks() {
        let mut cpu = CpuBudget::new(Duration::from_millis(3));
        assert_eq!([cpu.tick(), cpu.tick(), cpu.tick()], [Ok(()); 3]);
        assert_eq!(cpu.tick(), Err(Exceeded::Cpu));
    }

    #[test]
    fn waiting_for_the_host_costs_no_cpu_but_a_quick_call_does() {
        let mut cpu = CpuBudget::new(Duration::from_millis(1));
        cpu.waited(Instant::now() - TICK * 5);
        assert_eq!(cpu.tick(), Ok(()), "the tick fell into the wait");
        cpu.waited(Instant::now() + TICK);
        assert_eq!(cpu.tick(), Ok(()), "the one tick of the budget");
        assert_eq!(cpu.tick(), Err(Exceeded::Cpu));
    }

    #[test]
    fn ids_that_are_too_large_name_nothing() {
        assert_eq!(id_in(u64::MAX), i64::MAX);
        assert_eq!((id_in(7), id_out(7), id_out(-1), count_out(1 << 40)), (7, 7, 0, u32::MAX));
    }
}
