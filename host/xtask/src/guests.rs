//! Building plugins and test guests into packed components.
//!
//! Owns: which there are, where they end up, and whether they are up to date. Must not: know what is in them.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Tree,
    compiler::{Compiler, TARGET},
    process::{Failed, cargo, run, step},
};

/// What the components are made from, relative to the checkout.
const SOURCES: [&str; 11] = [
    "wit",
    "plugins",
    "tests/guests",
    "Cargo.toml",
    "Cargo.lock",
    "host/runtime/src/fragment.rs",
    "host/runtime/src/manifest",
    "host/runtime/src/manifest.rs",
    "host/runtime/src/pack.rs",
    "host/words/src",
    "host/xtask/src",
];

/// A component to be made.
struct Guest {
    /// What cargo makes, without directory and ending.
    artifact: String,
    /// In `target/guests/…/guest`: empty, or `examples` for test guests.
    artifact_dir: &'static str,
    manifest: PathBuf,
    out: PathBuf,
}

/// Builds all components, or nothing if nothing changed.
pub fn build(tree: &Tree) -> Result<(), Failed> {
    let failed = |error: io::Error| Failed::while_doing("looking for plugins", error);
    let plugins = plugins(tree).map_err(failed)?;
    let tests = test_guests(tree).map_err(failed)?;
    let stamp_file = tree.target.join("plugins").join(".stamp");
    let stamp = stamp(tree).map_err(|error| Failed::while_doing("reading the plugins' sources", error))?;
    let all = || plugins.iter().map(|(_, guest)| guest).chain(&tests);
    let up_to_date = fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp);
    if up_to_date && all().all(|guest| guest.out.is_file()) {
        step(&format!("{} plugins and {} test guests are up to date", plugins.len(), tests.len()));
        return Ok(());
    }
    let compiler = Compiler::find()?;
    step(&format!("building {} plugins and {} test guests", plugins.len(), tests.len()));
    step(&format!("compiler: {}", compiler.describe()));
    compile(tree, &compiler, plugins.iter().map(|(package, _)| package.as_str()), !tests.is_empty())?;
    step("building the server, which packs them");
    run(cargo(tree).args(["build", "--quiet", "--package", "patchbay"]))?;
    for guest in all() {
        pack(tree, guest)?;
    }
    fs::write(&stamp_file, stamp).map_err(|error| Failed::while_doing("writing the stamp", error))
}

fn compile<'a>(
    tree: &Tree,
    compiler: &Compiler,
    packages: impl Iterator<Item = &'a str>,
    tests: bool,
) -> Result<(), Failed> {
    let mut build = cargo(tree);
    build.args(["build", "--profile", "guest", "--lib"]);
    build.arg("--target-dir").arg(guest_dir(tree));
    for package in packages {
        build.args(["--package", package]);
    }
    if tests {
        build.args(["--package", "patchbay-guests", "--examples"]);
    }
    compiler.configure(&mut build);
    run(&mut build)
}

/// A target directory of their own: other flags and another compiler would make cargo build everything anew
/// each time they take turns with the host.
fn guest_dir(tree: &Tree) -> PathBuf {
    tree.target.join("guests")
}

fn pack(tree: &Tree, guest: &Guest) -> Result<(), Failed> {
    let built = guest_dir(tree).join(TARGET).join("guest").join(guest.artifact_dir);
    let module = built.join(format!("{}.wasm", guest.artifact));
    if let Some(directory) = guest.out.parent() {
        fs::create_dir_all(directory)
            .map_err(|error| Failed::while_doing("making the output's folder", error))?;
    }
    let mut pack = Command::new(tree.patchbay());
    pack.args(["plugin", "pack"]).arg(&module);
    pack.arg("--manifest").arg(&guest.manifest).arg("--out").arg(&guest.out);
    run(&mut pack)?;
    let size = fs::metadata(&guest.out).map_or(0, |file| file.len());
    let shown = guest.out.strip_prefix(&tree.root).unwrap_or(&guest.out);
    step(&format!("{} ({} KiB)", shown.display(), size.div_ceil(1024)));
    Ok(())
}

/// Every folder in `plugins/` with a manifest, and the name of its package.
fn plugins(tree: &Tree) -> io::Result<Vec<(String, Guest)>> {
    let mut found = Vec::new();
    for directory in sorted(&tree.root.join("plugins"))? {
        let manifest = directory.join("plugin.toml");
        if !manifest.is_file() {
            continue;
        }
        let package = name_in(&directory.join("Cargo.toml"))?;
        let out = tree.target.join("plugins").join(format!("{}.wasm", name_in(&manifest)?));
        let artifact = package.replace('-', "_");
        found.push((package, Guest { artifact, artifact_dir: "", manifest, out }));
    }
    Ok(found)
}

/// Every manifest in `tests/guests/examples/`; the source beside it has the same name.
fn test_guests(tree: &Tree) -> io::Result<Vec<Guest>> {
    let mut found = Vec::new();
    for manifest in sorted(&tree.root.join("tests/guests/examples"))? {
        if manifest.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let name = name_in(&manifest)?;
        let out = tree.target.join("test-guests").join(format!("{name}.wasm"));
        found.push(Guest { artifact: name.replace('-', "_"), artifact_dir: "examples", manifest, out });
    }
    Ok(found)
}

/// The first `name = "…"` of a TOML file.
fn name_in(file: &Path) -> io::Result<String> {
    let text = fs::read_to_string(file)?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let missing = || io::Error::other(format!("{} has no line name = \"…\"", file.display()));
    name.map(str::to_owned).ok_or_else(missing)
}

fn sorted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A digest of every source by content: a checkout that touches files costs nothing.
fn stamp(tree: &Tree) -> io::Result<String> {
    digest(SOURCES.iter().map(|source| tree.root.join(source)))
}

/// A digest of files and folders.
pub fn digest(sources: impl Iterator<Item = PathBuf>) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        hash_path(&source, &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn hash_path(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    if path.is_dir() {
        return sorted(path)?.iter().try_for_each(|path| hash_path(path, hasher));
    }
    path.hash(hasher);
    fs::read(path)?.hash(hasher);
    Ok(())
}
