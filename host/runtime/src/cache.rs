//! Compiled code, kept across starts.
//!
//! Owns: a directory that only this host writes, and the one compiler that runs at a time. Must not: be given
//! a path that others can write to; what lies there is run as machine code.
//!
//! A compiler that takes too long is given up. One in a process of its own is killed then; one on a thread of this process
//! goes on, and until it ends no other begins.

use std::{
    collections::HashSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::component::Component;

use crate::{LoadError, RuntimeError, compiler, limits, weight};

/// The directory.
pub(crate) struct Cache {
    directory: PathBuf,
    /// Two cores compile one component at a time; a queue would make the first wait for all of them.
    compiler: Arc<Semaphore>,
    /// The program that compiles, if it is not this process.
    program: Option<PathBuf>,
    patience: Duration,
}

impl Cache {
    pub(crate) fn open(
        directory: PathBuf,
        program: Option<PathBuf>,
        patience: Duration,
    ) -> Result<Self, RuntimeError> {
        let path = directory.display().to_string();
        let cache = |source| RuntimeError::Cache { path: path.clone(), source };
        create_private(&directory).map_err(cache)?;
        remove_drafts(&directory).map_err(cache)?;
        Ok(Self { directory, compiler: Arc::new(Semaphore::new(1)), program, patience })
    }

    /// Removes what was compiled by another engine, or for components that aren't among these digests.
    pub(crate) fn keep_only(&self, engine: &wasmtime::Engine, digests: &HashSet<String>) -> io::Result<()> {
        let kept: HashSet<_> = digests.iter().map(|digest| file_name(engine, digest)).collect();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_compiled = Path::new(&name).extension().is_some_and(|ending| ending == "cwasm");
            // What begins with a dot is being written.
            let is_draft = name.as_encoded_bytes().starts_with(b".");
            if is_compiled && !is_draft && name.to_str().is_none_or(|name| !kept.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The compiled component: from the cache if this engine made it before, else compiled on a thread of its
    /// own at low priority.
    pub(crate) async fn component(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
        bytes: Bytes,
    ) -> Result<Component, LoadError> {
        let path = self.directory.join(file_name(engine, digest));
        let (engine, compiler) = (engine.clone(), Arc::clone(&self.compiler));
        let program = self.program.clone();
        let given_up = Arc::new(AtomicBool::new(false));
        let _until_dropped = GiveUp(Arc::clone(&given_up));
        let compiled = async move {
            let closed = |_| LoadError::CompileFailed("the compiler is gone".to_owned());
            let one_at_a_time = compiler.acquire_owned().await.map_err(closed)?;
            on_background_thread(move || {
                // Given back when the work is done, whoever still waits for it.
                let _one_at_a_time = one_at_a_time;
                load_or_compile(&engine, program.as_deref(), &path, &bytes, &given_up)
            })
            .await
        };
        let timeout = LoadError::CompileTimeout { limit: self.patience };
        tokio::time::timeout(self.patience, compiled).await.unwrap_or(Err(timeout))
    }
}

#[cfg(unix)]
fn create_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn create_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// What a host left unfinished that was killed.
fn remove_drafts(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn file_name(engine: &wasmtime::Engine, digest: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}.cwasm", hasher.finish())
}

async fn on_background_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("plugin-compiler".to_owned());
    let thread = thread.stack_size(limits::COMPILER_STACK_BYTES).spawn(move || {
        // On Linux this is the thread's own priority; elsewhere there is none to set. Serving goes first.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::nice(10);
        // Nobody listens if the load was cancelled.
        let _ = tell.send(work());
    });
    thread.map_err(|error| LoadError::CompileFailed(format!("no thread to compile on: {error}")))?;
    told.await.unwrap_or_else(|_| Err(LoadError::CompileFailed("the compiler panicked".to_owned())))
}

fn load_or_compile(
    engine: &wasmtime::Engine,
    program: Option<&Path>,
    path: &Path,
    bytes: &[u8],
    given_up: &AtomicBool,
) -> Result<Component, LoadError> {
    if let Some(component) = load(engine, path) {
        return Ok(component);
    }
    weight::check(bytes)?;
    let compiled = match program {
        Some(program) => compiler::in_process(program, &draft(path), bytes, given_up),
        None => {
            engine.precompile_component(bytes).map_err(|error| LoadError::CompileFailed(format!("{error:#}")))
        }
    };
    let compiled = compiled.map_err(|error| explain(bytes, error))?;
    // A cache that can't be written costs time at the next start, not this load.
    if let Err(error) = store(path, &compiled) {
        tracing::warn!(path = %path.display(), %error, "compiled plugin not cached");
    }
    deserialize(engine, &compiled).map_err(|error| LoadError::ResourcesExceeded(format!("{error:#}")))
}

/// The compiler refuses what is invalid and what it can't do alike; the validator tells which it was.
fn explain(bytes: &[u8], error: LoadError) -> LoadError {
    match (&error, wasmparser::Validator::new().validate_all(bytes)) {
        (LoadError::CompileFailed(_), Err(invalid)) => LoadError::Malformed(invalid.to_string()),
        _ => error,
    }
}

/// A path beside this one that no other thread or process uses.
fn draft(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap_or(Path::new("."));
    directory.join(format!(".{}-{:?}", std::process::id(), thread::current().id()))
}

/// Says that nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was compiled before; none if there is nothing, or if it is not what was written.
fn load(engine: &wasmtime::Engine, path: &Path) -> Option<Component> {
    let file = fs::read(path).ok()?;
    let (digest, compiled) = file.split_at_checked(DIGEST_BYTES)?;
    if digest != Sha256::digest(compiled).as_slice() {
        tracing::warn!(path = %path.display(), "damaged file in the plugin cache, compiling again");
        return None;
    }
    deserialize(engine, compiled).ok()
}

const DIGEST_BYTES: usize = 32;

fn store(path: &Path, compiled: &[u8]) -> io::Result<()> {
    let draft = draft(path);
    let write = || {
        let mut file = fs::File::create(&draft)?;
        file.write_all(&Sha256::digest(compiled))?;
        file.write_all(compiled)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

fn deserialize(engine: &wasmtime::Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` was made by `precompile_component` of an engine with the same compatibility hash: it
    // comes from there just now, or from a file in a directory of mode 0700 that only this host writes, under
    // a name that contains that hash, and its own digest has been checked.
    #[allow(unsafe_code)]
    unsafe {
        Component::deserialize(engine, compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_unfinished_goes() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".1-ThreadId(1).in", "abc.cwasm"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        Cache::open(dir.path().to_owned(), None, Duration::from_secs(1)).unwrap();
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["abc.cwasm"]);
    }

    #[test]
    fn what_is_kept_no_more_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned(), None, Duration::from_secs(1)).unwrap();
        let engine = wasmtime::Engine::default();
        let kept = file_name(&engine, "kept");
        for name in
            [kept.as_str(), &file_name(&engine, "gone"), "kept-0123456789abcdef.cwasm", ".draft.cwasm"]
        {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        cache.keep_only(&engine, &HashSet::from(["kept".to_owned()])).unwrap();
        let left =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.collect::<HashSet<_>>(), HashSet::from([kept, ".draft.cwasm".to_owned()]));
    }
}
