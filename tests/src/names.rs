//! A name server whose answers change, and servers that ask it instead of the system's.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use tokio::net::UdpSocket;

/// Answers every question about an IPv4 address; about others it says that there is nothing.
pub struct NameServer {
    /// What programs that ask this one have at `/etc`.
    etc: TempDir,
    answers: Arc<Mutex<Vec<Vec<Ipv4Addr>>>>,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// Starts it. None where this user may not, except on CI, where nothing may be skipped.
    pub async fn start() -> Option<Self> {
        let etc = tempfile::tempdir().unwrap();
        // Programs know of no other port than 53; a loopback address is this process's alone.
        let id = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | (id[2] & 63), id[3], 53);
        let socket = UdpSocket::bind(SocketAddrV4::new(address, 53)).await.ok();
        std::fs::write(etc.path().join("resolv.conf"), format!("nameserver {address}\n")).unwrap();
        std::fs::write(etc.path().join("nsswitch.conf"), "hosts: dns\n").unwrap();
        let mut probe = std::process::Command::new("sh");
        probe.args(["-c", &Self::command(etc.path(), "true")]);
        let is_allowed = probe.output().is_ok_and(|output| output.status.success());
        let (Some(socket), true) = (socket, is_allowed) else {
            #[allow(clippy::disallowed_methods)] // Tests have no settings but this one.
            let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
            assert!(!ci, "no name server can be started, and nothing may be skipped here");
            eprintln!("SKIPPED: this user may not start a name server");
            return None;
        };
        let answers: Arc<Mutex<Vec<Vec<Ipv4Addr>>>> = Arc::default();
        let asked: Arc<AtomicUsize> = Arc::default();
        let (told, counted) = (Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..length], || {
                    let answers = told.lock().unwrap();
                    let at = counted.fetch_add(1, Ordering::Relaxed);
                    answers[at % answers.len()].clone()
                });
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Some(Self { etc, answers, asked })
    }

    /// From now on it answers with each of these in turn.
    pub fn answer(&self, answers: &[&[Ipv4Addr]]) {
        *self.answers.lock().unwrap() = answers.iter().map(|some| some.to_vec()).collect();
    }

    /// How often it has been asked for an IPv4 address.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn etc(&self) -> &Path {
        self.etc.path()
    }

    /// A command of the shell that runs another one whose names come from the name server with this directory.
    pub(crate) fn command(etc: &Path, command: &str) -> String {
        let mounts = ["resolv.conf", "nsswitch.conf"]
            .map(|name| format!("mount --bind '{}/{name}' /etc/{name}", etc.display()))
            .join(" && ");
        format!("exec unshare --mount sh -c \"{mounts} && {command}\" \"$0\" \"$@\"")
    }
}

/// The answer to a question (RFC 1035, section 4).
fn answer(question: &[u8], addresses: impl FnOnce() -> Vec<Ipv4Addr>) -> Vec<u8> {
    let name = question[12..].iter().position(|&length| length == 0).unwrap();
    let end = 12 + name + 1 + 4;
    let addresses = match question[end - 4..end - 2] {
        [0, 1] => addresses(),
        _ => Vec::new(),
    };
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    for address in addresses {
        // The name of the question, A, IN, to be kept for no time, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
