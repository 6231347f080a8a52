//! The one task that writes: it gathers operations into a transaction, each in a savepoint of its own, appends
//! their events to the journal as the last thing, commits, and only then answers.
//!
//! Owns: the order of the journal. Must not: tell anybody of an event; it only moves the head that readers of
//! the journal watch.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use patchbay_core::MessageId;

use crate::{Conn, Document, Index, NewEntry, StoreError, postgres::Server};

/// Most operations in one transaction: beyond this the cost of the commit no longer matters, and the first
/// one in should not wait for the hundredth.
pub const MAX_BATCH: usize = 64;
/// Most operations that wait. Beyond this callers wait for a place.
const QUEUE: usize = 1024;
/// How long a caller waits for a place before it fails with [`StoreError::Unavailable`].
const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// How long a transaction on PostgreSQL may take before its connection counts as lost.
const BATCH_WAIT: Duration = Duration::from_secs(30);
/// How long undoing one may take.
const ROLLBACK_WAIT: Duration = Duration::from_secs(5);
/// How long to wait before the second attempt to reconnect; twice as long before each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest wait between two attempts.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// The future of an operation.
pub type Operation<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an operation writes with: a connection inside a transaction, and the journal.
#[derive(Debug)]
pub struct Tx {
    conn: Conn,
    entries: Vec<NewEntry>,
    scrubs: Vec<(MessageId, String)>,
    documents: Vec<(Index, i64, Document)>,
}

impl Tx {
    /// Adds an event to the journal. It gets its `seq` when the batch commits.
    pub fn append(&mut self, entry: NewEntry) {
        self.entries.push(entry);
    }

    /// Replaces the payload of every event that holds content of this message, including those of this very
    /// transaction.
    pub fn scrub(&mut self, message: MessageId, payload: String) {
        self.scrubs.push((message, payload));
    }

    /// Writes the words of a message or file into the index, in place of those there are. They are written at the end of
    /// the transaction, those of a batch together, and only if the row is still there.
    pub fn index(&mut self, index: Index, id: i64, document: Document) {
        self.documents.push((index, id, document));
    }
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

/// How an operation went, and how to answer it once the fate of the transaction is known.
struct Outcome {
    succeeded: bool,
    answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

type Job = Box<dyn for<'a> FnOnce(&'a mut Tx) -> Operation<'a, Outcome> + Send>;

enum Command {
    Run(Job),
    Close(oneshot::Sender<()>),
}

#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Command>,
    done: Arc<Done>,
}

/// What the writer has done since it started.
#[derive(Debug, Default)]
struct Done {
    batches: AtomicU64,
    operations: AtomicU64,
}

/// How busy the writer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterLoad {
    /// Operations that wait.
    pub waiting: usize,
    /// Transactions so far.
    pub batches: u64,
    /// Operations in those.
    pub operations: u64,
}

impl Writer {
    /// With a `server`, a connection that is lost is replaced.
    pub(crate) fn start(conn: Conn, server: Option<Server>, head: Arc<watch::Sender<i64>>) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE);
        let tx = Tx { conn, entries: Vec::new(), scrubs: Vec::new(), documents: Vec::new() };
        let done = Arc::<Done>::default();
        tokio::spawn(run(tx, server, commands, head, Arc::clone(&done)));
        Self { queue, done }
    }

    pub(crate) fn load(&self) -> WriterLoad {
        WriterLoad {
            waiting: self.queue.max_capacity() - self.queue.capacity(),
            batches: self.done.batches.load(Ordering::Relaxed),
            operations: self.done.operations.load(Ordering::Relaxed),
        }
    }

    pub(crate) async fn write<T, E, F>(&self, operation: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> Operation<'a, Result<T, E>> + Send + 'static,
    {
        let (reply, answered) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |tx| {
            Box::pin(async move {
                let result = operation(tx).await;
                let succeeded = result.is_ok();
                let answer = move |fate: Result<(), StoreError>| {
                    let answer = match (result, fate) {
                        // A failed operation left nothing to commit: its own error is the better answer.
                        (Err(error), _) => Err(error),
                        (Ok(value), Ok(())) => Ok(value),
                        (Ok(_), Err(error)) => Err(error.into()),
                    };
                    let _ = reply.send(answer);
                };
                Outcome { succeeded, answer: Box::new(answer) }
            })
        });
        match self.queue.send_timeout(Command::Run(job), QUEUE_WAIT).await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                return Err(StoreError::Unavailable("too many writes are waiting".into()).into());
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                return Err(StoreError::Unavailable("the server is shutting down".into()).into());
            }
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the operation failed".into()).into()))
    }

    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

async fn run(
    mut tx: Tx,
    server: Option<Server>,
    mut commands: mpsc::Receiver<Command>,
    head: Arc<watch::Sender<i64>>,
    done: Arc<Done>,
) {
    while let Some(command) = commands.recv().await {
        let job = match command {
            Command::Run(job) => job,
            Command::Close(done) => {
                let _ = done.send(());
                return;
            }
        };
        let mut close = None;
        let mut answers = Vec::new();
        let begun = begin(&mut tx, server.as_ref(), &head).await;
        let batch = batch(&mut tx, begun, job, &mut commands, &mut answers, &mut close);
        let fate = match &server {
            None => batch.await,
            Some(_) => tokio::time::timeout(BATCH_WAIT, batch).await.unwrap_or_else(|_| Err(silent())),
        };
        let mut stands = true;
        match &fate {
            Ok(Some(seq)) => {
                head.send_replace(*seq);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, operations = answers.len(), "a write transaction failed and was undone");
                stands = roll_back(&mut tx, server.is_some()).await;
            }
        }
        done.batches.fetch_add(1, Ordering::Relaxed);
        done.operations.fetch_add(answers.len() as u64, Ordering::Relaxed);
        for answer in answers {
            answer(fate.as_ref().map(|_| ()).map_err(|error| StoreError::Unavailable(error.to_string())));
        }
        if let Some(done) = close {
            let done: oneshot::Sender<()> = done;
            let _ = done.send(());
            return;
        }
        if let (false, Some(server)) = (stands, &server) {
            give_up(&mut tx).await;
            let Some((conn, seq)) = reconnect(server, &mut commands).await else { return };
            replace(&mut tx, conn, seq, &head);
        }
    }
}

/// Begins a transaction. Nothing has been done yet: a connection that has been lost since the last one is replaced,
/// once, and nobody need hear of it.
async fn begin(tx: &mut Tx, server: Option<&Server>, head: &watch::Sender<i64>) -> Result<(), StoreError> {
    let Some(server) = server else { return Ok(tx.conn.begin().await?) };
    if matches!(tokio::time::timeout(BATCH_WAIT, tx.conn.begin()).await, Ok(Ok(()))) {
        return Ok(());
    }
    give_up(tx).await;
    let (conn, seq) = server.reconnect().await?;
    tracing::info!("the writer had lost its connection to PostgreSQL and has another one");
    replace(tx, conn, seq, head);
    Ok(tx.conn.begin().await?)
}

/// Lets a connection go that is lost, or seems to be: while it is open its session holds the lock that the next one needs.
async fn give_up(tx: &mut Tx) {
    match Conn::none().await {
        Ok(none) => tx.conn = none,
        Err(error) => tracing::warn!(%error, "a lost connection is still held"),
    }
}

/// Goes on with another connection, which has seen the journal up to `seq`: the lost one may have committed without
/// being able to say so.
fn replace(tx: &mut Tx, conn: Conn, seq: i64, head: &watch::Sender<i64>) {
    tx.conn = conn;
    head.send_if_modified(|head| std::mem::replace(head, seq.max(*head)) < seq);
}

fn silent() -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL has not answered for {} s", BATCH_WAIT.as_secs()))
}

/// Undoes what is left of a failed transaction; whether the connection can still be used.
async fn roll_back(tx: &mut Tx, remote: bool) -> bool {
    tx.entries.clear();
    tx.scrubs.clear();
    tx.documents.clear();
    if !remote {
        // The transaction may have ended by itself; an error here says just that.
        let _ = tx.conn.execute("ROLLBACK").await;
        return true;
    }
    // Outside of a transaction PostgreSQL only warns: an error means that nobody is there.
    matches!(tokio::time::timeout(ROLLBACK_WAIT, tx.conn.execute("ROLLBACK")).await, Ok(Ok(())))
}

/// Connects until it succeeds: at once, then after longer and longer pauses, during which operations are refused.
/// None if the store is closed meanwhile.
async fn reconnect(server: &Server, commands: &mut mpsc::Receiver<Command>) -> Option<(Conn, i64)> {
    let mut pause = FIRST_PAUSE;
    loop {
        match server.reconnect().await {
            Ok(connected) => {
                tracing::info!("the writer is connected to PostgreSQL again");
                return Some(connected);
            }
            Err(error) => tracing::warn!(%error, "the writer can't connect to PostgreSQL and tries again"),
        }
        let next = tokio::time::sleep(pause);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => break,
                command = commands.recv() => match command? {
                    Command::Run(job) => refuse(job)(Ok(())),
                    Command::Close(done) => {
                        let _ = done.send(());
                        return None;
                    }
                },
            }
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Runs `first` and whatever else is waiting in one transaction, which has begun. Returns the new head of the journal, if it
/// moved. On an error nothing of the batch remains.
async fn batch(
    tx: &mut Tx,
    begun: Result<(), StoreError>,
    first: Job,
    commands: &mut mpsc::Receiver<Command>,
    answers: &mut Vec<Answer>,
    close: &mut Option<oneshot::Sender<()>>,
) -> Result<Option<i64>, StoreError> {
    if let Err(error) = begun {
        // The operation is not run at all; only its caller must hear of it.
        answers.push(refuse(first));
        return Err(error);
    }
    let mut next = Some(first);
    while let Some(job) = next.take() {
        if let Some(answer) = one(tx, job).await? {
            answers.push(answer);
        }
        if answers.len() < MAX_BATCH {
            match commands.try_recv() {
                Ok(Command::Run(job)) => next = Some(job),
                Ok(Command::Close(done)) => *close = Some(done),
                Err(_) => {}
            }
        }
    }
    if !tx.documents.is_empty() {
        let documents = std::mem::take(&mut tx.documents);
        let of = |index| documents.iter().filter(move |document| document.0 == index);
        for index in Index::ALL {
            let documents: Vec<_> = of(index).map(|(_, id, document)| (*id, document)).collect();
            tx.conn.index(index, documents).await?;
        }
    }
    let seq = if tx.entries.is_empty() {
        None
    } else {
        let entries = std::mem::take(&mut tx.entries);
        Some(tx.conn.append_to_journal(&entries).await?)
    };
    for (message, payload) in std::mem::take(&mut tx.scrubs) {
        tx.conn.scrub_journal(message, &payload).await?;
    }
    tx.conn.execute("COMMIT").await?;
    Ok(seq)
}

/// Dropping a job drops its reply channel, which its caller sees as [`StoreError::Unavailable`].
fn refuse(job: Job) -> Answer {
    Box::new(move |_| drop(job))
}

/// Runs one operation in a savepoint. An error of the operation undoes the savepoint; an error returned from
/// here means that the transaction no longer stands.
async fn one(tx: &mut Tx, job: Job) -> Result<Option<Answer>, StoreError> {
    let before = (tx.entries.len(), tx.scrubs.len(), tx.documents.len());
    tx.conn.execute("SAVEPOINT operation").await?;
    let Some(outcome) = CatchUnwind(AssertUnwindSafe(job(tx))).await else {
        undo(tx, before).await?;
        tracing::error!("an operation panicked; it was undone");
        return Ok(None);
    };
    if !outcome.succeeded {
        undo(tx, before).await?;
        return Ok(Some(outcome.answer));
    }
    if let Err(error) = tx.conn.execute("RELEASE operation").await {
        // The operation has passed over an error, after which PostgreSQL keeps nothing of it. The others are
        // not to suffer for that.
        undo(tx, before).await?;
        tracing::error!(%error, "an operation went on after a statement had failed; it was undone");
        let answer = outcome.answer;
        return Ok(Some(Box::new(move |_| answer(Err(error.into())))));
    }
    Ok(Some(outcome.answer))
}

/// Takes back the operation whose savepoint is open. Fails if an error has ended the whole transaction (disk
/// full, IO error, connection lost): nothing stands then.
async fn undo(tx: &mut Tx, (entries, scrubs, documents): (usize, usize, usize)) -> Result<(), StoreError> {
    tx.entries.truncate(entries);
    tx.scrubs.truncate(scrubs);
    tx.documents.truncate(documents);
    tx.conn.execute("ROLLBACK TO operation").await?;
    tx.conn.execute("RELEASE operation").await?;
    Ok(())
}

/// A future that turns a panic into `None`: one operation's bug must not take the writer down.
struct CatchUnwind<F>(AssertUnwindSafe<F>);

impl<F: Future + Unpin> Future for CatchUnwind<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let inner = &mut self.0.0;
        match std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll(cx))) {
            Ok(std::task::Poll::Ready(value)) => std::task::Poll::Ready(Some(value)),
            Ok(std::task::Poll::Pending) => std::task::Poll::Pending,
            Err(_) => std::task::Poll::Ready(None),
        }
    }
}
