//! `bun`'s WebSocket server (uWebSockets in C++), for comparison.

use std::process::Command;

use super::{Result, child::Process};
use crate::report::root;

/// Publishes the text in the file that it is given to everybody, for each frame from a socket on `/send`.
const SERVER: &str = r#"
const text = await Bun.file(process.argv[2]).text();
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch(request, server) {
    const sends = new URL(request.url).pathname === "/send";
    if (!server.upgrade(request, { data: { sends } })) return new Response("", { status: 426 });
  },
  websocket: {
    idleTimeout: 0,
    perMessageDeflate: false,
    open(socket) { if (!socket.data.sends) socket.subscribe("all"); },
    message() { server.publish("all", text); },
  },
});
console.log("port " + server.port);
"#;

/// Starts it with the text to publish; none where `bun` isn't there, which is said aloud.
pub fn start(text: &str) -> Result<Option<(Process, String)>> {
    let directory = root().join("target/bench-bun");
    let program = directory.join("node_modules/.bin/bun");
    if !program.exists() {
        eprintln!("SKIPPED: {} is missing, so nothing is compared with bun", program.display());
        return Ok(None);
    }
    let (script, message) = (directory.join("server.mjs"), directory.join("message.json"));
    std::fs::write(&script, SERVER)?;
    std::fs::write(&message, text)?;
    let mut command = Command::new(program);
    command.arg(script).arg(message);
    let (process, port) = Process::start(&mut command, |line| line.strip_prefix("port ").map(str::to_owned))?;
    Ok(Some((process, format!("127.0.0.1:{port}"))))
}
