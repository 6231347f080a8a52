//! Every limit that a plugin runs under, in one table: name, default, bounds, meaning and reason. Parsing,
//! printing and what the tests check come from it.
//!
//! Owns: the numbers. Must not: enforce anything; each limit is enforced where the thing that it limits happens.
//!
//! Which wait and which refuse: permits wait (a burst is normal) and then refuse with `busy`. Everything
//! else traps the one call that reached it.

use std::time::Duration;

/// How often running guests are looked at. CPU budgets count these, so they are no finer than this.
pub const TICK: Duration = Duration::from_millis(1);

/// How long a call may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Time in the guest itself, in steps of [`TICK`]. Waiting for the host is not counted.
    pub cpu: Duration,
    /// Time from start to end, waiting for the host included.
    pub wall: Duration,
}

/// What one plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of all linear memories and tables of one call together.
    pub memory_bytes: usize,
    /// An HTTP call, until it starts to stream.
    pub http: Budget,
    /// Decorating one page of up to 200 messages.
    pub decorate: Budget,
    /// A hook, asked about one message.
    pub hook: Budget,
    /// A batch of events.
    pub events: Budget,
    /// A slash command.
    pub command: Budget,
    /// A job that has come due.
    pub job: Budget,
    /// `activate` and `resync`.
    pub activate: Budget,
    /// How often an event or a job is tried before it becomes a dead letter.
    pub event_attempts: u32,
    /// The pause after the first failure; it doubles with each one that follows.
    pub event_backoff: Duration,
    /// How long a call may wait for models beyond its time.
    pub llm_wait: Duration,
    /// Most tokens of models, in prompts and answers together, that the plugin uses in a day (UTC).
    pub llm_tokens: u64,
    /// How long a call may go on once it streams.
    pub stream_wall: Duration,
    /// How long a streaming call waits for a client that does not read.
    pub stream_stall: Duration,
    /// Most bytes that a guest hands over in one call of a host function.
    pub host_call_bytes: usize,
    /// Most bytes that a call exchanges with host functions altogether, both directions.
    pub host_total_bytes: usize,
    /// Most calls of host functions that a call makes.
    pub host_calls: u32,
    /// Most live handles (resources) of a call.
    pub handles: usize,
    /// Most bytes of a response's body.
    pub response_bytes: usize,
    /// Bytes of a body that are kept back so that a short answer is sent whole.
    pub response_buffer: usize,
    /// Most bytes of one message's decoration.
    pub decoration_bytes: usize,
    /// Most lines that a call writes to the log; what comes after is counted.
    pub log_lines: u32,
    /// Most bytes of keys and values that the plugin keeps.
    pub kv_bytes: usize,
    /// Most bytes of vectors that the plugin keeps here.
    pub vector_bytes: usize,
    /// Most calls of this plugin at once.
    pub concurrent_calls: u32,
    /// Most calls that wait for one of those; the next is refused at once.
    pub waiting_calls: u32,
    /// How long a call waits for a permit.
    pub queue_wait: Duration,
    /// Most calls that one instance serves.
    pub reuse_calls: u32,
    /// How old an instance may be that serves another call.
    pub reuse_age: Duration,
    /// Most bytes that an instance may have taken which serves another call.
    pub reuse_memory: usize,
}

/// A limit as an operator sets it.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What it is called; the ending tells the unit (`_bytes`, `_ms`), without one it is a count.
    pub name: &'static str,
    /// What applies if nothing is set.
    pub default: u64,
    /// The least that can be set.
    pub min: u64,
    /// The most that can be set.
    pub max: u64,
    /// What it bounds, and why its default is what it is.
    pub meaning: &'static str,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

impl Limit {
    /// The limit of that name.
    pub fn find(name: &str) -> Option<&'static Limit> {
        TABLE.iter().find(|limit| limit.name == name)
    }

    /// Its value.
    pub fn of(&self, limits: &Limits) -> u64 {
        (self.get)(limits)
    }

    /// Whether it may be set to this.
    pub fn allows(&self, value: u64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    /// Sets it, cut to its bounds.
    pub fn put(&self, limits: &mut Limits, value: u64) {
        (self.set)(limits, value.clamp(self.min, self.max));
    }
}

/// A value that a limit can have.
trait Quantity {
    fn number(&self) -> u64;
    fn of_number(number: u64) -> Self;
}

impl Quantity for usize {
    fn number(&self) -> u64 {
        u64::try_from(*self).unwrap_or(u64::MAX)
    }
    fn of_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Quantity for u64 {
    fn number(&self) -> u64 {
        *self
    }
    fn of_number(number: u64) -> Self {
        number
    }
}

impl Quantity for u32 {
    fn number(&self) -> u64 {
        u64::from(*self)
    }
    fn of_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Quantity for Duration {
    fn number(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
    fn of_number(number: u64) -> Self {
        Self::from_millis(number)
    }
}

macro_rules! table {
    ($( $name:ident: $($field:ident).+ = $default:expr, $min:expr => $max:expr, $meaning:literal; )*) => {
        /// All limits, in the order in which they are shown.
        pub const TABLE: &[Limit] = &[
            $( Limit {
                name: stringify!($name),
                default: $default,
                min: $min,
                max: $max,
                meaning: $meaning,
                get: |limits| limits.$($field).+.number(),
                set: |limits, number| limits.$($field).+ = Quantity::of_number(number),
            }, )*
        ];
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

table! {
    memory_bytes: memory_bytes = 64 * MIB, MIB => POOL_MEMORY_BYTES as u64,
        "All memories and tables of one call together. A Rust guest uses 1 to 2 MiB, one that carries a JavaScript or \
         Python engine 10 to 40. It also bounds what one bulk instruction costs, which nothing interrupts.";
    http_cpu_ms: http.cpu = SECOND, 1 => MINUTE,
        "Computing of one HTTP call. A page of work, not a batch: what takes longer belongs in a job.";
    http_wall_ms: http.wall = 5 * SECOND, 10 => 5 * MINUTE,
        "One HTTP call until it streams, waiting included. Waiting for the database or a model may take longer than \
         computing.";
    decorate_cpu_ms: decorate.cpu = 20, 1 => SECOND,
        "Computing of the decoration of one page. Readers wait for it.";
    decorate_wall_ms: decorate.wall = 250, 1 => 5 * SECOND,
        "The decoration of one page, waiting included. It also counts the host's own load, and a page without its \
         reactions for a stall that is not the plugin's is worse than a page that comes a moment later.";
    hook_cpu_ms: hook.cpu = 10, 1 => SECOND,
        "Computing of one hook. The sender of the message waits for it.";
    hook_wall_ms: hook.wall = 250, 1 => 5 * SECOND,
        "One hook, waiting included: a hook that writes waits for the disk. All hooks of a message have 2 s together.";
    events_cpu_ms: events.cpu = 5 * SECOND, 1 => 5 * MINUTE,
        "Computing of one batch of events. Nobody waits for it, but the machine is shared.";
    events_wall_ms: events.wall = 30 * SECOND, 10 => 30 * MINUTE,
        "One batch of events, waiting included.";
    command_cpu_ms: command.cpu = SECOND, 1 => MINUTE,
        "Computing of one slash command: as an HTTP call, since its user waits.";
    command_wall_ms: command.wall = 5 * SECOND, 10 => 5 * MINUTE,
        "One slash command, waiting included.";
    job_cpu_ms: job.cpu = 30 * SECOND, 1 => 30 * MINUTE,
        "Computing of one job. This is where batches belong.";
    job_wall_ms: job.wall = 5 * MINUTE, 10 => 60 * MINUTE,
        "One job, waiting included.";
    activate_cpu_ms: activate.cpu = 10 * SECOND, 1 => 10 * MINUTE,
        "Computing of `activate`, a version's own migration, and of `resync`.";
    activate_wall_ms: activate.wall = MINUTE, 10 => 30 * MINUTE,
        "`activate` and `resync`, waiting included. The operator waits for it and the old version serves meanwhile.";
    event_attempts: event_attempts = 8, 1 => 100,
        "How often an event or a job is tried before it becomes a dead letter. With the default pause, eight tries \
         take two minutes, which outlives a restart of what the plugin depends on.";
    event_backoff_ms: event_backoff = SECOND, 1 => 60 * MINUTE,
        "The pause after the first failure; it doubles with each one that follows.";
    llm_wait_ms: llm_wait = 2 * MINUTE, 10 => 60 * MINUTE,
        "How long an HTTP call, a command, a job or a batch of events may wait for models (`llm`) beyond its own time, which \
         stands still meanwhile. A page of text takes a small machine a minute. Hooks and decorators get nothing: somebody \
         waits for them.";
    llm_tokens_per_day: llm_tokens = 2_000_000, 0 => 1_000_000_000_000,
        "Tokens of models, in prompts, answers and embeddings together, that the plugin uses in a day (UTC): about 1,500 questions \
         with their context, and no bill that surprises.";
    stream_wall_ms: stream_wall = 5 * MINUTE, 100 => 60 * MINUTE,
        "An HTTP call once it streams. A generated answer takes minutes at worst.";
    stream_stall_ms: stream_stall = 30 * SECOND, 100 => 5 * MINUTE,
        "How long a streaming call waits for a client that does not read.";
    host_call_bytes: host_call_bytes = 4 * MIB, 64 * KIB => 64 * MIB,
        "What a call hands to one host function. The largest legitimate values are 64 KiB (kv), in batches of up to 256.";
    host_total_bytes: host_total_bytes = 64 * MIB, 64 * KIB => 1024 * MIB,
        "What a call exchanges with host functions altogether, both directions.";
    host_calls: host_calls = 10_000, 1 => 1_000_000,
        "Host functions that a call calls. Far above any loop over a page of 200, far below what keeps the database busy.";
    handles: handles = 256, 8 => 65_536,
        "Live handles of a call: caller, response, and what capabilities lend.";
    response_bytes: response_bytes = 16 * MIB, KIB => 1024 * MIB,
        "The body of an answer. Downloads go through files, not through plugins.";
    response_buffer_bytes: response_buffer = 64 * KIB, KIB => MIB,
        "What is kept back of a body so that a short answer is sent whole. One TCP window; below it, streaming costs more \
         than it gives.";
    decoration_bytes: decoration_bytes = 16 * KIB, 16 => 64 * KIB,
        "The decoration of one message. 200 of these are a page of 3 MiB, which is too much already.";
    log_lines: log_lines = 200, 0 => 10_000,
        "Lines that a call writes to its log; what comes after is counted.";
    kv_bytes: kv_bytes = 64 * MIB, KIB => 16 * 1024 * MIB,
        "Keys and values that the plugin keeps: enough for bookkeeping, too little to fill a disk.";
    vector_bytes: vector_bytes = 1024 * MIB, KIB => 256 * 1024 * MIB,
        "Vectors, their ids and metadata that the plugin keeps in the host's database: half a million of 512 numbers. What is \
         kept elsewhere (`vectors.url`) is limited there.";
    concurrent_calls: concurrent_calls = 64, 1 => CONCURRENT_CALLS as u64,
        "Calls of this plugin at once. Half of what all plugins have together, so that one can't starve the others.";
    waiting_calls: waiting_calls = 256, 0 => 10_000,
        "Calls that wait for one of those; the next is refused at once.";
    queue_wait_ms: queue_wait = 500, 1 => MINUTE,
        "How long a call waits for its turn. Longer than a burst, shorter than a client's patience.";
    reuse_calls: reuse_calls = 1, 1 => 10_000,
        "Calls that one instance serves. 1 gives each call a fresh one, which is what keeps a plugin from carrying anything \
         from one user's call into another's. More is for plugins you trust with that whose start takes long: an engine of \
         JavaScript or Python takes milliseconds. An instance that trapped or still holds a right to act is never used again.";
    reuse_age_ms: reuse_age = MINUTE, 100 => 60 * MINUTE,
        "How old an instance may be that serves another call.";
    reuse_memory_bytes: reuse_memory = 64 * MIB, MIB => POOL_MEMORY_BYTES as u64,
        "What an instance may have taken that waits for another call: it keeps that while it waits.";
}

const NO_TIME: Budget = Budget { cpu: Duration::ZERO, wall: Duration::ZERO };

impl Limits {
    /// What stands in each field before the table has been applied.
    const UNSET: Self = Self {
        memory_bytes: 0,
        http: NO_TIME,
        decorate: NO_TIME,
        hook: NO_TIME,
        events: NO_TIME,
        command: NO_TIME,
        job: NO_TIME,
        activate: NO_TIME,
        event_attempts: 0,
        event_backoff: Duration::ZERO,
        llm_wait: Duration::ZERO,
        llm_tokens: 0,
        stream_wall: Duration::ZERO,
        stream_stall: Duration::ZERO,
        host_call_bytes: 0,
        host_total_bytes: 0,
        host_calls: 0,
        handles: 0,
        response_bytes: 0,
        response_buffer: 0,
        decoration_bytes: 0,
        log_lines: 0,
        kv_bytes: 0,
        vector_bytes: 0,
        concurrent_calls: 0,
        waiting_calls: 0,
        queue_wait: Duration::ZERO,
        reuse_calls: 0,
        reuse_age: Duration::ZERO,
        reuse_memory: 0,
    };
}

impl Default for Limits {
    fn default() -> Self {
        let mut limits = Self::UNSET;
        for limit in TABLE {
            limit.put(&mut limits, limit.default);
        }
        limits
    }
}

/// Most bytes of a component: JavaScript guests have 13 MB, Python guests 18 MB.
pub const COMPONENT_BYTES: usize = 48 << 20;
/// Most bytes of one function: the largest of real ones, interpreters' loops, have some hundred thousand.
pub const FUNCTION_BYTES: usize = 1 << 20;
/// Most functions of a component: engines of other languages have some ten thousand.
pub const FUNCTIONS: usize = 200_000;
/// Most modules inside a component, and most components inside it, at any depth.
pub const MODULES: usize = 64;
/// How long a component may wait for the compiler and be compiled. JavaScript and Python guests take a minute or
/// two on a slow machine.
pub const COMPILE_TIME: Duration = Duration::from_secs(300);
/// The stack of the thread that compiles.
pub const COMPILER_STACK_BYTES: usize = 16 << 20;
/// Most bytes of a plugin's part of the OpenAPI document: everybody who reads the document gets it.
pub const OPENAPI_BYTES: usize = 128 << 10;
/// Most bytes of a manifest.
pub const MANIFEST_BYTES: usize = 256 << 10;
/// Most core instances of one component: the module, wit-component's two shims, an adapter or two.
pub const CORE_INSTANCES: u32 = 16;
/// Most linear memories of one component: its own and an adapter's.
pub const MEMORIES: u32 = 2;
/// Most tables of one component: the module's and wit-component's.
pub const TABLES: u32 = 8;
/// Most elements of one table, 8 bytes each: engines of other languages have some thousand functions.
pub const TABLE_ELEMENTS: usize = 50_000;
/// Most bytes of one linear memory that the pool reserves room for; [`Limits::memory_bytes`] can be no more.
pub const POOL_MEMORY_BYTES: usize = 256 << 20;
/// Most bytes of the guest's own stack, which is separate from its memory.
pub const WASM_STACK_BYTES: usize = 512 << 10;
/// The stack that a call runs on: the guest's and, below it, that of the host functions it calls.
pub const CALL_STACK_BYTES: usize = 2 << 20;
/// Most calls of all plugins at once.
pub const CONCURRENT_CALLS: u32 = 128;
/// Most calls of hooks at once, beyond those: calls that wait for a hook hold the others.
pub const HOOK_CALLS: u32 = 32;
/// Slots of the pool beyond the global permits: instances under trial before activation, and those still being
/// torn down.
pub const POOL_SLACK: u32 = 16;
/// Most instances of all plugins that wait to be used again ([`Limits::reuse_calls`]), beyond those.
pub const REUSED_INSTANCES: u32 = 32;

/// Most signals of one plugin per second (`realtime.signal`), and as many at once; more are dropped. Each goes to every
/// connected member of a channel, so that this times the members is what the gateway has to write.
pub const SIGNALS_PER_SECOND: u32 = 100;

/// A limit that a call reached. Carried by the trap that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exceeded {
    #[error("the CPU budget is used up")]
    Cpu,
    #[error("the call wants more memory than it may have")]
    Memory,
    #[error("the call exchanged more data with the host than it may")]
    HostData,
    #[error("the call called the host more often than it may")]
    HostCalls,
    #[error("the answer is larger than it may be")]
    Response,
    #[error("the client does not take the answer")]
    Stalled,
    #[error("the client is gone")]
    ClientGone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reaches_every_field_and_keeps_to_its_bounds() {
        let defaults = format!("{:?}", Limits::default());
        assert!(!defaults.contains(": 0,") && !defaults.contains(" 0ns"), "{defaults}");
        for (at, limit) in TABLE.iter().enumerate() {
            assert!(limit.allows(limit.default), "{}", limit.name);
            let mut limits = Limits::default();
            for value in [limit.min, limit.max] {
                limit.put(&mut limits, value);
                assert_eq!(limit.of(&limits), value, "{}", limit.name);
            }
            limit.put(&mut limits, u64::MAX);
            assert_eq!(limit.of(&limits), limit.max, "{}: cut", limit.name);
            for other in TABLE.iter().take(at) {
                assert_ne!(other.name, limit.name);
                assert_eq!(
                    other.of(&limits),
                    other.default,
                    "{} and {} share a field",
                    limit.name,
                    other.name
                );
            }
        }
    }
}
