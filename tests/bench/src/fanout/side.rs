//! One server with its listeners and those who make it send, in a process of its own: so each has the descriptors that a
//! process may have, and the clients of one don't disturb those of another.
//!
//! It says `ready` and what the next side has to know, then answers each line (a number of messages) with nanoseconds: of
//! the whole round, then p50 and p99 of how long a message took to its last receiver.
//!
//! Owns: the sides. Must not: compare them.

use std::{
    io::{BufRead as _, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedWriteHalf},
};

use super::{ROUNDS, WINDOW};
use crate::{
    floor,
    load::{
        Result, bun,
        child::Process,
        patchbay::{Patchbay, User},
        raise_file_limit,
        sockets::{Flight, connect, frame, listen, masked},
    },
    table::percentile,
};

/// Users to whom the sockets belong.
const USERS: usize = 250;
const CONTENT: &str =
    "A message of a usual length, such as people write to each other all day long, with a 👍 in it.";

/// A server with its listeners and those who make it send.
struct Side {
    is_patchbay: bool,
    flight: Arc<Flight>,
    /// Kept open, and now and then shown to be alive.
    listeners: Vec<OwnedWriteHalf>,
    speakers: Vec<OwnedWriteHalf>,
    request: Vec<u8>,
    sent: usize,
    _process: Box<dyn Send>,
}

/// Runs one side: its name, how many sockets, how many messages in a round, and the frame that is sent (hexadecimal; Patchbay
/// makes it).
pub fn serve(arguments: &[String]) -> Result<()> {
    let [name, sockets, messages, rest @ ..] = arguments else { return Err("too few arguments".into()) };
    let (sockets, messages): (usize, usize) = (sockets.parse()?, messages.parse()?);
    let given = rest.first().map_or(Ok(Vec::new()), |sample| from_hex(sample))?;
    raise_file_limit();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        let flight = Arc::new(Flight::new(sockets, messages * (ROUNDS + 1), WINDOW));
        let made = match name.as_str() {
            "patchbay" => Some(Side::patchbay(sockets, flight).await?),
            "bare" => Some((Side::bare(sockets, flight, &given).await?, given)),
            "bun" => Side::bun(sockets, flight, &given).await?.map(|side| (side, given)),
            _ => return Err(format!("no side {name:?}").into()),
        };
        let Some((mut side, sample)) = made else {
            println!("absent");
            return Ok(());
        };
        println!("ready {}", to_hex(&sample));
        for line in std::io::stdin().lock().lines() {
            let messages = line?.parse()?;
            side.heartbeat().await?;
            let took = side.round(messages).await?;
            let mut waits = side.flight.latencies();
            waits.sort_unstable();
            let [p50, p99] = [0.5, 0.99].map(|part| percentile(&waits, part));
            println!("{} {p50} {p99}", took.as_secs_f64());
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digits = |at| text.get(at..at + 2).ok_or("half a byte");
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?)).collect()
}

impl Side {
    /// The server, and one of its frames as it comes over the wire.
    async fn patchbay(sockets: usize, flight: Arc<Flight>) -> Result<(Self, Vec<u8>)> {
        let server = Patchbay::start(None)?;
        let users = server.users(USERS.min(sockets)).await?;
        let channel = server.channel(&users).await?;
        let (request, sample) = sample(&server, &users, channel).await?;
        let mut listeners = Vec::new();
        for user in users.iter().cycle().take(sockets) {
            let stream = connect(&server.address, "/ws/chat", &user.token).await?;
            listeners.push(listen(stream, Some(Arc::clone(&flight))));
        }
        // Members as well, though nobody counts what they hear.
        let speaker = users.first().ok_or("nobody")?;
        let mut speakers = Vec::new();
        for _ in 0..WINDOW {
            let stream = connect(&server.address, "/ws/chat", &speaker.token).await?;
            speakers.push(listen(stream, None));
        }
        // Until live events flow everywhere.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let side = Self {
            is_patchbay: true,
            flight,
            listeners,
            speakers,
            request,
            sent: 0,
            _process: Box::new(server),
        };
        Ok((side, sample))
    }

    async fn bare(sockets: usize, flight: Arc<Flight>, sample: &[u8]) -> Result<Self> {
        let (process, address, control) = floor::fanout::start()?;
        let mut control = TcpStream::connect(&control).await?;
        control.set_nodelay(true)?;
        control.write_u32(u32::try_from(sample.len())?).await?;
        control.write_all(sample).await?;
        let mut listeners = Vec::new();
        for _ in 0..sockets {
            listeners.push(listen(TcpStream::connect(&address).await?, Some(Arc::clone(&flight))));
        }
        let speakers = vec![control.into_split().1];
        Ok(Self::of(flight, listeners, speakers, vec![1], process))
    }

    async fn bun(sockets: usize, flight: Arc<Flight>, sample: &[u8]) -> Result<Option<Self>> {
        let text = frame(sample).map(|(_, payload)| String::from_utf8_lossy(payload).into_owned());
        let Some((process, address)) = bun::start(&text.ok_or("no frame")?)? else { return Ok(None) };
        let mut listeners = Vec::new();
        for _ in 0..sockets {
            let stream = connect(&address, "/", "").await?;
            listeners.push(listen(stream, Some(Arc::clone(&flight))));
        }
        let mut speakers = Vec::new();
        for _ in 0..WINDOW {
            speakers.push(listen(connect(&address, "/send", "").await?, None));
        }
        Ok(Some(Self::of(flight, listeners, speakers, masked("{}"), process)))
    }

    fn of(
        flight: Arc<Flight>,
        listeners: Vec<OwnedWriteHalf>,
        speakers: Vec<OwnedWriteHalf>,
        request: Vec<u8>,
        process: Process,
    ) -> Self {
        Self {
            is_patchbay: false,
            flight,
            listeners,
            speakers,
            request,
            sent: 0,
            _process: Box::new(process),
        }
    }

    /// A server may close sockets from which nothing comes.
    async fn heartbeat(&mut self) -> Result<()> {
        if self.is_patchbay {
            let heartbeat = masked(r#"{"type":"heartbeat"}"#);
            for socket in self.listeners.iter_mut().chain(&mut self.speakers) {
                socket.write_all(&heartbeat).await?;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    async fn round(&mut self, messages: usize) -> Result<Duration> {
        let started = Instant::now();
        for _ in 0..messages {
            self.flight.depart(self.sent).await?;
            let speakers = self.speakers.len();
            let speaker = self.speakers.get_mut(self.sent % speakers).ok_or("nobody speaks")?;
            speaker.write_all(&self.request).await?;
            self.sent += 1;
        }
        self.flight.land(u32::try_from(WINDOW)?).await?;
        Ok(started.elapsed())
    }
}

/// The frame that posts a message, and the frame with which it is heard.
async fn sample(server: &Patchbay, users: &[User], channel: i64) -> Result<(Vec<u8>, Vec<u8>)> {
    let user = users.first().ok_or("nobody")?;
    let data = json!({ "channel_id": channel, "content": CONTENT });
    let request = masked(&json!({ "type": "message.send", "data": data }).to_string());
    let mut stream = connect(&server.address, "/ws/chat", &user.token).await?;
    stream.write_all(&request).await?;
    let mut bytes = Vec::new();
    loop {
        while let Some((length, payload)) = frame(&bytes) {
            if payload.starts_with(crate::load::sockets::MESSAGE) {
                let sample = bytes.drain(..length).collect();
                return Ok((request, sample));
            }
            bytes.drain(..length);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err("the server has closed the socket".into());
        }
    }
}
