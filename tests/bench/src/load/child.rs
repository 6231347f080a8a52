//! A process that says where it listens, and ends with its owner.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use super::{Error, Result};

/// A running process.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it and reads lines from it until one is what is looked for.
    pub fn start<T>(command: &mut Command, find: impl Fn(&str) -> Option<T>) -> Result<(Self, T)> {
        let name = command.get_program().to_string_lossy().into_owned();
        // A captured backtrace would be measured with every error.
        command.env("RUST_LIB_BACKTRACE", "0");
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.map_err(|error| format!("{name}: {error}"))?;
        let output = child.stdout.take().ok_or("no standard output")?;
        let process = Self { child };
        let mut lines = BufReader::new(output).lines();
        let found = loop {
            let line = lines.next().ok_or_else(|| Error::from(format!("{name} ended at once")))??;
            if let Some(found) = find(&line) {
                break found;
            }
        };
        // What else it prints must not fill the pipe.
        std::thread::spawn(move || lines.map_while(std::io::Result::ok).for_each(drop));
        Ok((process, found))
    }

    /// Memory that the process has now, in bytes (Linux, `/proc/PID/status`).
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line.and_then(|rest| rest.trim().split(' ').next()).ok_or("no VmRSS")?.parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
