//! A way between clients and a UDP port that loses, delays and reorders.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// How bad the way is, each way alike.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of a hundred packets in good times, how many begin a burst of loss.
    pub begins: u64,
    /// Of a hundred packets in a burst, how many end it. In a burst every packet is lost (Gilbert's model).
    pub ends: u64,
    /// How long a packet takes at least.
    pub delay: Duration,
    /// What it may take longer; who takes longer than the next one comes after it.
    pub jitter: Duration,
}

/// Stands before a port. Everybody who sends here is somebody of their own there.
pub struct Lossy {
    port: u16,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    carried: AtomicU64,
    lost: AtomicU64,
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One direction of one client.
struct Way {
    weather: Weather,
    random: u64,
    is_bad: bool,
    counts: Arc<Counts>,
}

impl Way {
    /// Numbers that look random and are the same each time (xorshift).
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// How long the next packet takes; none if it is lost.
    fn next(&mut self) -> Option<Duration> {
        let chance = self.below(100);
        self.is_bad = if self.is_bad { chance >= self.weather.ends } else { chance < self.weather.begins };
        let count = if self.is_bad { &self.counts.lost } else { &self.counts.carried };
        count.fetch_add(1, Ordering::Relaxed);
        let jitter = u64::try_from(self.weather.jitter.as_micros()).unwrap();
        (!self.is_bad).then(|| self.weather.delay + Duration::from_micros(self.below(jitter + 1)))
    }
}

impl Lossy {
    /// Stands before a port of this machine; the seed says what is lost.
    pub async fn before(port: u16, weather: Weather, seed: u64) -> Self {
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = outside.local_addr().unwrap().port();
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, Way)> = HashMap::new();
            let mut seed = seed;
            let mut buffer = [0; 2_048];
            while let Ok((length, from)) = outside.recv_from(&mut buffer).await {
                let mut way = || {
                    seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
                    Way { weather, random: seed | 1, is_bad: false, counts: Arc::clone(&counted) }
                };
                let (inside, way) = match clients.entry(from) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => {
                        let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                        inside.connect(server).await.unwrap();
                        tokio::spawn(back(Arc::clone(&inside), Arc::clone(&outside), from, way()));
                        place.insert((inside, way()))
                    }
                };
                let Some(takes) = way.next() else { continue };
                let (inside, bytes) = (Arc::clone(inside), buffer[..length].to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(takes).await;
                    let _ = inside.send(&bytes).await;
                });
            }
        });
        Self { port, counts, task }
    }

    /// Where it stands.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of a hundred packets so far, how many were lost.
    pub fn percent_lost(&self) -> u64 {
        let (carried, lost) =
            (self.counts.carried.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed));
        lost * 100 / (carried + lost).max(1)
    }
}

/// The way back to one client.
async fn back(inside: Arc<UdpSocket>, outside: Arc<UdpSocket>, to: SocketAddr, way: Way) {
    let way = Mutex::new(way);
    let mut buffer = [0; 2_048];
    loop {
        let Ok(length) = inside.recv(&mut buffer).await else { return };
        let Some(takes) = way.lock().unwrap().next() else { continue };
        let (outside, bytes) = (Arc::clone(&outside), buffer[..length].to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(takes).await;
            let _ = outside.send_to(&bytes, to).await;
        });
    }
}
