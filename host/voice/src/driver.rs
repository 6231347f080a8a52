//! Threads and sockets: the only place in this crate that knows the time and the network.
//!
//! Every thread has a socket on the same port and its own rooms. The kernel spreads clients over the sockets by their address, so
//! a datagram may come to a thread that doesn't have its room; it is handed to the one that does. What is sent, which is most,
//! leaves from the thread that made it, a batch in one system call.
//!
//! Owns: threads, sockets, the handing over. Must not: look into datagrams.

#[cfg_attr(unix, path = "driver/net.rs")]
#[cfg_attr(not(unix), path = "driver/plain.rs")]
mod net;

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    Config, Link, Observed, ParticipantId, Reason, Refusal, View,
    leg::{self, Common},
    room::Entrant,
    wire,
    worker::{Answer, Command, Directory, Joined, Reply, Stats, Worker},
};

/// Datagrams that are read before timers and commands have their turn.
const BATCH: usize = 128;
/// How long a thread waits after the first datagram for others that come with it: what is done for many at once costs each less,
/// and a thousandth of a second is not heard.
const GATHER: Duration = Duration::from_millis(1);
/// Datagrams for another thread that wait for it; more are lost, as they would be in the kernel's queue.
const HANDED_OVER: usize = 4_096;
/// Largest datagram that is read.
const MTU: usize = 2_048;

/// Why voice can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the port.
    #[error("UDP port {0} is in use by another program")]
    PortTaken(u16),
    /// The system refuses something else.
    #[error("UDP port {port}: {error}")]
    Socket {
        /// Which.
        port: u16,
        /// Why.
        error: std::io::Error,
    },
    /// Something is missing.
    #[error("{0}")]
    Other(String),
}

/// The voice service. Cheap to clone.
#[derive(Clone)]
pub struct Voice(Arc<Inner>);

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("port", &self.0.port).finish_non_exhaustive()
    }
}

struct Inner {
    port: u16,
    announced: Vec<SocketAddr>,
    doors: Vec<Arc<Door>>,
    next: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A thread, as others reach it.
struct Door {
    /// Not bounded by itself: every signalling connection waits for the answer to its request or has few to make, and has one
    /// farewell.
    commands: Sender<Command>,
    handed: SyncSender<(SocketAddr, Vec<u8>)>,
    bell: net::Bell,
    has_rung: AtomicBool,
}

impl Door {
    fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }
}

/// Which thread has which client.
#[derive(Default)]
struct Map {
    ufrags: RwLock<HashMap<String, usize>>,
    addresses: RwLock<HashMap<SocketAddr, usize>>,
}

impl Map {
    fn find(&self, from: SocketAddr, bytes: &[u8]) -> Option<usize> {
        if let Some(request) = wire::binding_request(bytes) {
            return self.ufrags.read().unwrap_or_else(PoisonError::into_inner).get(request.ufrag).copied();
        }
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).get(&from).copied()
    }
}

/// One thread's view of the map.
struct Mine(Arc<Map>, usize);

impl Directory for Mine {
    fn learn_ufrag(&mut self, ufrag: &str) {
        self.0.ufrags.write().unwrap_or_else(PoisonError::into_inner).insert(ufrag.to_owned(), self.1);
    }
    fn forget_ufrag(&mut self, ufrag: &str) {
        self.0.ufrags.write().unwrap_or_else(PoisonError::into_inner).remove(ufrag);
    }
    fn learn_address(&mut self, address: SocketAddr) {
        self.0.addresses.write().unwrap_or_else(PoisonError::into_inner).insert(address, self.1);
    }
    fn forget_address(&mut self, address: SocketAddr) {
        self.0.addresses.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }
}

impl Voice {
    /// Opens the port and starts the threads.
    ///
    /// # Errors
    /// If the port can't be had, or there is nothing to announce.
    pub fn start(config: &Config, observer: Observed) -> Result<Self, StartError> {
        let other = |error: &dyn std::fmt::Display| StartError::Other(error.to_string());
        if config.announce.is_empty() {
            return Err(StartError::Other("there is no address to announce; set voice.public_ip".into()));
        }
        let (sockets, port) = net::bind(&config.announce, config.port, config.threads.max(1))?;
        let announced: Vec<_> = config.announce.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let common = Common {
            certificate: leg::certificate().map_err(StartError::Other)?,
            local: one_of_each_family(&announced),
            announce: announced.clone(),
            slots: config.limits.slots,
        };
        let (map, rooms_open) = (Arc::new(Map::default()), Arc::new(AtomicUsize::new(0)));
        let (mut doors, mut insides) = (Vec::new(), Vec::new());
        for socket in sockets {
            let (commands, commanded) = mpsc::channel();
            let (handed, handed_over) = mpsc::sync_channel(HANDED_OVER);
            let (bell, ear) = net::bell().map_err(|e| other(&e))?;
            doors.push(Arc::new(Door { commands, handed, bell, has_rung: AtomicBool::new(false) }));
            insides.push((socket, commanded, handed_over, ear));
        }
        let mut threads = Vec::new();
        for (index, (socket, commanded, handed_over, ear)) in insides.into_iter().enumerate() {
            let directory = Box::new(Mine(Arc::clone(&map), index));
            let (limits, counted) = (config.limits, Arc::clone(&rooms_open));
            let worker = Worker::new(common.clone(), limits, counted, Arc::clone(&observer), directory);
            let thread = Thread {
                index,
                is_v6: socket.local_addr().is_ok_and(|address| address.is_ipv6()),
                socket,
                ear,
                commanded,
                handed_over,
                doors: doors.clone(),
                map: Arc::clone(&map),
                worker,
            };
            let name = format!("voice-{index}");
            let spawned = std::thread::Builder::new().name(name).spawn(move || thread.run());
            threads.push(spawned.map_err(|e| other(&e))?);
        }
        let (next, threads) = (AtomicU64::new(1), Mutex::new(threads));
        Ok(Self(Arc::new(Inner { port, announced, doors, next, threads })))
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// What clients are told to send to.
    pub fn announced(&self) -> &[SocketAddr] {
        &self.0.announced
    }

    /// Lets somebody into a room; returns the number of the link, by which the connection speaks from then on.
    pub fn join(
        &self,
        room: i64,
        user: i64,
        session: i64,
        link: Link,
        reply: impl FnOnce(Result<Joined, Refusal>) + Send + 'static,
    ) -> u64 {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let entrant = Entrant { id: ParticipantId(number), link: number, user, session };
        self.send(room, Command::Join { room, entrant, link, reply: Box::new(reply) });
        number
    }

    /// The signalling connection is gone; its participant may come back.
    pub fn unlink(&self, room: i64, link: u64) {
        self.send(room, Command::Unlink { room, link });
    }

    /// Answers an offer.
    pub fn offer(
        &self,
        room: i64,
        link: u64,
        id: ParticipantId,
        sdp: String,
        reply: impl FnOnce(Result<Answer, Refusal>) + Send + 'static,
    ) {
        self.send(room, Command::Offer { room, link, id, sdp, reply: Box::new(reply) });
    }

    /// Where a client says that it is; told to the operator if no connection comes about.
    pub fn candidate(&self, room: i64, link: u64, id: ParticipantId, candidate: String) {
        self.send(room, Command::Candidate { room, link, id, candidate });
    }

    /// What a participant says of its microphone, and of whether it listens.
    pub fn set(&self, room: i64, id: ParticipantId, muted: Option<bool>, deafened: Option<bool>) {
        self.send(room, Command::Set { room, id, muted, deafened });
    }

    /// A participant goes because it wants to.
    pub fn leave(&self, room: i64, id: ParticipantId) {
        self.send(room, Command::Leave { room, id });
    }

    /// A moderator mutes a user, or no longer does.
    pub fn silence(
        &self,
        room: i64,
        user: i64,
        on: bool,
        reply: impl FnOnce(Result<View, Refusal>) + Send + 'static,
    ) {
        self.send(room, Command::Silence { room, user, on, reply: Box::new(reply) });
    }

    /// Takes a user out of a room.
    pub fn remove(
        &self,
        room: i64,
        user: i64,
        why: Reason,
        reply: impl FnOnce(Result<(), Refusal>) + Send + 'static,
    ) {
        self.send(room, Command::Remove { room, user, why, reply: Box::new(reply) });
    }

    /// Takes everybody out of a room.
    pub fn close(&self, room: i64, why: Reason) {
        self.send(room, Command::Close { room, why });
    }

    /// Who is in a room.
    pub fn views(&self, room: i64, reply: impl FnOnce(Vec<View>) + Send + 'static) {
        self.send(room, Command::Views { room, reply: Box::new(reply) });
    }

    /// Figures of all rooms, once for each thread.
    pub fn stats(&self, reply: impl Fn(Vec<Stats>) + Send + Sync + 'static) {
        let reply = Arc::new(reply);
        for door in &self.0.doors {
            let reply = Arc::clone(&reply);
            let reply: Reply<Vec<Stats>> = Box::new(move |stats| reply(stats));
            let _ = door.commands.send(Command::Stats { reply });
            door.ring();
        }
    }

    /// How many threads answer to [`Voice::stats`].
    pub fn threads(&self) -> usize {
        self.0.doors.len()
    }

    /// Tells everybody that the server is going away, and ends the threads.
    pub fn stop(&self) {
        for door in &self.0.doors {
            let _ = door.commands.send(Command::Stop);
            door.ring();
        }
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// A command whose thread has ended is dropped, and its reply with it: the server is going away.
    fn send(&self, room: i64, command: Command) {
        let count = i64::try_from(self.0.doors.len()).unwrap_or(1);
        let at = usize::try_from(room.rem_euclid(count)).unwrap_or(0);
        if let Some(door) = self.0.doors.get(at) {
            let _ = door.commands.send(command);
            door.ring();
        }
    }
}

/// The core is told of one address of each family: more would be more pairs to check, on the same socket.
fn one_of_each_family(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = |wants_v4: bool| addresses.iter().find(|address| address.is_ipv4() == wants_v4);
    [first(true), first(false)].into_iter().flatten().copied().collect()
}

struct Thread {
    index: usize,
    socket: UdpSocket,
    is_v6: bool,
    ear: net::Ear,
    commanded: Receiver<Command>,
    handed_over: Receiver<(SocketAddr, Vec<u8>)>,
    doors: Vec<Arc<Door>>,
    map: Arc<Map>,
    worker: Worker,
}

impl Thread {
    fn run(mut self) {
        let mut buffer = vec![0; MTU];
        let mut goes_on = true;
        while goes_on {
            let patience = self.worker.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            let heard = net::wait(&self.socket, &self.ear, patience.unwrap_or(Duration::from_secs(60)));
            if heard.bell {
                self.ear.hush();
                if let Some(door) = self.doors.get(self.index) {
                    door.has_rung.store(false, Ordering::Release);
                }
            }
            if heard.socket {
                #[allow(clippy::disallowed_methods)] // A thread of its own, with nothing else to do.
                std::thread::sleep(GATHER);
            }
            let now = Instant::now();
            if heard.socket {
                self.receive(now, &mut buffer);
            }
            while let Ok((from, bytes)) = self.handed_over.try_recv() {
                self.take(now, from, &bytes);
            }
            while let Ok(command) = self.commanded.try_recv() {
                goes_on &= self.worker.command(now, command);
            }
            self.worker.tick(now);
            net::send(&self.socket, self.is_v6, self.worker.drain());
        }
    }

    fn receive(&mut self, now: Instant, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Ok((length, from)) = self.socket.recv_from(buffer) else { return };
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            let bytes = buffer.get(..length).unwrap_or_default();
            if self.take(now, from, bytes) {
                continue;
            }
            let other = self.map.find(from, bytes).filter(|other| *other != self.index);
            if let Some(door) = other.and_then(|other| self.doors.get(other))
                && door.handed.try_send((from, bytes.to_vec())).is_ok()
            {
                door.ring();
            }
        }
    }

    /// A fault of the core ends the connection that it happened on, and no other.
    fn take(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> bool {
        let taken = catch_unwind(AssertUnwindSafe(|| self.worker.datagram(now, from, bytes)));
        taken.unwrap_or_else(|_| {
            tracing::error!(%from, "the voice core failed on a datagram; its connection is dropped");
            self.worker.evict(now, from);
            true
        })
    }
}
