//! A loop that writes the same bytes to every socket: what fan-out costs the system, with nothing decided.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use crate::load::{Result, child::Process};

/// The process, where sockets connect to, and where the one that asks for messages does.
pub fn start() -> Result<(Process, String, String)> {
    let (process, addresses) = super::start(&["floor-fanout"])?;
    let (sockets, control) = addresses.split_once(' ').ok_or("no addresses")?;
    Ok((process, sockets.to_owned(), control.to_owned()))
}

/// Serves until the controlling connection ends. On it come the length of a frame (4 bytes, big endian), the frame as it
/// is to be written, and then a byte per message.
pub fn serve() -> Result<()> {
    let sockets = TcpListener::bind("127.0.0.1:0")?;
    let control = TcpListener::bind("127.0.0.1:0")?;
    println!("serves {} {}", sockets.local_addr()?, control.local_addr()?);
    let listeners = Arc::<Mutex<Vec<TcpStream>>>::default();
    let all = Arc::clone(&listeners);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = sockets.accept() {
            let _ = stream.set_nodelay(true);
            all.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        }
    });
    let (mut control, _) = control.accept()?;
    let mut length = [0; 4];
    control.read_exact(&mut length)?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    control.read_exact(&mut frame)?;
    let mut asked = [0; 64];
    loop {
        let messages = control.read(&mut asked)?;
        if messages == 0 {
            return Ok(());
        }
        // What is due to a socket is one write.
        let due = frame.repeat(messages);
        for listener in listeners.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            listener.write_all(&due)?;
        }
    }
}
