//! What is written in a file.
//!
//! Owns: how text comes out of the bytes of strangers: plain text here, PDF in a process of its own that has little and can
//! be killed. Must not: know whose file it is, or keep anything.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

/// The hidden command of the program that reads a PDF, followed by its file and that of the text.
pub const EXTRACT_COMMAND: &str = "extract-text";
/// Most bytes of text that are kept of a file: some hundred pages.
pub const MAX_TEXT: usize = 256 << 10;
/// Most bytes of a plain text that are read.
pub const MAX_PLAIN: u64 = 1 << 20;
/// Most bytes of a PDF; a larger one is found by its name.
pub const MAX_PDF: u64 = 32 << 20;
/// How long reading a PDF may take, waiting for a processor included.
const WALL: Duration = Duration::from_secs(30);
/// Seconds of computing.
#[cfg(target_os = "linux")]
const CPU: u64 = 15;
/// Bytes of memory.
#[cfg(target_os = "linux")]
const MEMORY: u64 = 1 << 30;
/// The reader follows references that may be nested deeply.
const STACK: usize = 64 << 20;
/// Most characters of what it says of a failure.
const SHOWN: usize = 200;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum NoText {
    /// There is none, or none that can be read; another time will not be different.
    #[error("{0}")]
    Unreadable(String),
    /// It could not be tried.
    #[error("{0}")]
    NotNow(String),
}

/// The text of a plain text's bytes, in UTF-8, or in UTF-16 with its mark.
///
/// # Errors
/// [`NoText::Unreadable`] for what is no text.
pub fn plain(bytes: &[u8]) -> Result<String, NoText> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ if bytes.contains(&0) => return Err(NoText::Unreadable("it is no text".into())),
        _ => String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned(),
    };
    Ok(kept(&text))
}

/// As much of a text as is kept, without what PostgreSQL has no place for.
fn kept(text: &str) -> String {
    let mut text = text.replace('\0', " ");
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

/// The text of the PDF in a file, read by a process of `program`. `output` is where it may write.
///
/// # Errors
/// [`NoText::Unreadable`] if there is none, or it takes too long or too much memory.
pub async fn pdf(program: &Path, input: &Path, output: &Path) -> Result<String, NoText> {
    let not_now = |error: std::io::Error| NoText::NotNow(error.to_string());
    let child = tokio::process::Command::new(program)
        .arg(EXTRACT_COMMAND)
        .args([input, output])
        // It needs nothing of the server's, least of all its secrets.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_now)?;
    let ended = tokio::time::timeout(WALL, child.wait_with_output()).await;
    let ended = ended.map_err(|_| NoText::Unreadable("it takes too long".into()))?.map_err(not_now)?;
    if ended.status.success() {
        return Ok(kept(&tokio::fs::read_to_string(output).await.map_err(not_now)?));
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let said: String = said.trim().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    Err(NoText::Unreadable(if said.is_empty() { ended.status.to_string() } else { said }))
}

/// What the process does: reads a PDF, with the least claim to this machine, and writes its text.
///
/// # Errors
/// What the reader or the file system says.
pub fn extract_file(input: &Path, output: &Path) -> Result<(), String> {
    confine();
    let bytes = fs::read(input).map_err(|error| error.to_string())?;
    let read = move || pdf_extract::extract_text_from_mem(&bytes).map_err(|error| error.to_string());
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(read);
    let text = thread.map_err(|error| error.to_string())?.join();
    let text = text.map_err(|_| "the reader of PDF panicked".to_owned())??;
    fs::write(output, kept(&text)).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn confine() {}

/// Takes from this process what it doesn't need. What can't be taken is no reason not to try.
#[cfg(target_os = "linux")]
fn confine() {
    use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let _ = nice(10);
    let limits = [
        (Resource::As, MEMORY),
        (Resource::Cpu, CPU),
        (Resource::Fsize, MAX_TEXT as u64),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

/// The two files of one reading, which are gone when this is.
#[derive(Debug)]
pub struct Scratch {
    /// Where the PDF is put.
    pub input: PathBuf,
    /// Where its text is written.
    pub output: PathBuf,
}

impl Scratch {
    /// In that directory, which is made. Only one at a time: what a killed server left is used again.
    ///
    /// # Errors
    /// If the directory can't be made.
    pub fn below(directory: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { input: directory.join("reading.pdf"), output: directory.join("reading.txt") })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for path in [&self.input, &self.output] {
            // Each may not be there.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_texts() {
        assert_eq!(plain(b"\xef\xbb\xbfcaf\xc3\xa9").unwrap(), "café");
        assert_eq!(plain(b"\xff\xfeh\0i\0").unwrap(), "hi");
        assert_eq!(plain(b"\xfe\xff\0h\0i").unwrap(), "hi");
        assert_eq!(plain(b"caf\xe9").unwrap(), "caf\u{fffd}", "Latin-1 keeps its other letters");
        assert!(plain(b"\x7fELF\0\0").is_err());
        assert_eq!(plain("é".repeat(MAX_TEXT).as_bytes()).unwrap().len(), MAX_TEXT);
    }
}
