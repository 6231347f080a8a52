//! `fanout`: messages to many sockets in one channel, 8 on their way, against a loop that only writes, and against `bun`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedWriteHalf},
};

use crate::{
    floor,
    load::{
        Result, bun,
        child::Process,
        patchbay::{Patchbay, User},
        raise_file_limit,
        sockets::{Flight, connect, frame, listen, masked},
    },
    options::number,
    table::{Figure, Goal, Table, percentile},
};

const ROUNDS: usize = 7;
const WINDOW: usize = 8;
/// Deliveries in a round, before which as many are not counted once.
const DELIVERIES: usize = 200_000;
/// Users to whom the sockets belong.
const USERS: usize = 250;
const CONTENT: &str =
    "A message of a usual length, such as people write to each other all day long, with a 👍 in it.";

/// A server with its listeners and those who make it send.
struct Side {
    name: &'static str,
    flight: Arc<Flight>,
    /// Kept open, and now and then shown to be alive.
    listeners: Vec<OwnedWriteHalf>,
    speakers: Vec<OwnedWriteHalf>,
    request: Vec<u8>,
    sent: usize,
    _process: Box<dyn Send>,
}

pub fn run() -> Result<()> {
    raise_file_limit();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sizes = number("sockets")?.map_or(vec![1_000], |one| vec![one]);
    for sockets in sizes {
        executor.block_on(measure(sockets))?;
    }
    Ok(())
}

async fn measure(sockets: usize) -> Result<()> {
    let messages = (DELIVERIES / sockets).max(WINDOW * 2);
    let flight = || Arc::new(Flight::new(sockets, messages * (ROUNDS + 1), WINDOW));
    let (ours, sample) = Side::patchbay(sockets, flight()).await?;
    let mut sides = vec![ours, Side::bare(sockets, flight(), &sample).await?];
    sides.extend(Side::bun(sockets, flight(), &sample).await?);
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    let mut latencies: Vec<[Vec<f64>; 2]> = vec![[Vec::new(), Vec::new()]; sides.len()];
    for round in 0..=ROUNDS {
        for (n, side) in sides.iter_mut().enumerate() {
            side.heartbeat().await?;
            let took = side.round(messages).await?;
            let mut waits = side.flight.latencies();
            waits.sort_unstable();
            let (Some(rates), Some([p50, p99]), true) = (rates.get_mut(n), latencies.get_mut(n), round > 0)
            else {
                continue;
            };
            rates.push((messages * sockets) as f64 / took.as_secs_f64());
            p50.push(percentile(&waits, 0.5));
            p99.push(percentile(&waits, 0.99));
        }
    }
    let mut table = Table::new(format!("fanout-{sockets}"), "deliveries/s");
    let mut waits = Table::new(format!("fanout-{sockets}-latency"), "ms to the last receiver");
    for ((side, rates), [p50, p99]) in sides.iter().zip(rates).zip(latencies) {
        table.add(Figure::new(side.name, rates));
        waits.add(Figure::new(format!("{}, p50", side.name), p50));
        waits.add(Figure::new(format!("{}, p99", side.name), p99));
    }
    table.compare("Patchbay", "bare loop", Goal::AtLeast(0.8));
    table.compare("Patchbay", "bun", Goal::AtLeast(1.0));
    waits.compare("Patchbay, p50", "bare loop, p50", Goal::None);
    waits.compare("Patchbay, p99", "bare loop, p99", Goal::None);
    table.publish()?;
    waits.publish()?;
    Ok(())
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
            name: "Patchbay",
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
        Ok(Self::of("bare loop", flight, listeners, speakers, vec![1], process))
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
        Ok(Some(Self::of("bun", flight, listeners, speakers, masked("{}"), process)))
    }

    fn of(
        name: &'static str,
        flight: Arc<Flight>,
        listeners: Vec<OwnedWriteHalf>,
        speakers: Vec<OwnedWriteHalf>,
        request: Vec<u8>,
        process: Process,
    ) -> Self {
        Self { name, flight, listeners, speakers, request, sent: 0, _process: Box::new(process) }
    }

    /// A server may close sockets from which nothing comes.
    async fn heartbeat(&mut self) -> Result<()> {
        if self.name == "Patchbay" {
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
