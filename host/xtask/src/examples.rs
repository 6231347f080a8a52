//! Plugins in other languages, and the projects that `patchbay plugin new` makes: built by their own tools, below the target
//! directory, for the tests.
//!
//! Owns: which there are, and whether they are up to date. Must not: know how one is built; its plugin.toml says that.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Tree,
    compiler::Compiler,
    guests::digest,
    process::{Failed, cargo, run, step},
};

/// The projects: name, language. Those that have a folder in `plugins/examples` are made of the template with what lies
/// there put over it; the others are the template.
const PROJECTS: [(&str, &str); 5] =
    [("my-rust", "rust"), ("my-js", "js"), ("my-python", "python"), ("poll", "js"), ("unfurl", "python")];

/// What a project is made from, beside its own folder.
const SOURCES: [&str; 7] = [
    "plugins/templates",
    "plugins/sdk",
    "wit",
    "host/runtime/src/pack.rs",
    "host/server/src/cli/author",
    "host/server/build.rs",
    "host/xtask/src/examples.rs",
];

/// What tools have put there, which a project made anew can go on with.
const KEPT: [&str; 3] = ["node_modules", ".venv", "target"];

/// Builds all of them. Those that can't be built are named; their tests are passed over, or fail where `CI` is set.
pub fn provide(tree: &Tree) -> Result<Vec<&'static str>, Failed> {
    let mut missing = Vec::new();
    for (name, language) in PROJECTS {
        let made = project(tree, name, language)
            .map_err(|error| Failed::while_doing(&format!("making the project {name}"), error))?;
        let Some(directory) = made else { continue };
        step(&format!("building {name}, a plugin in {language}"));
        let mut build = Command::new(tree.patchbay());
        build.args(["plugin", "build"]).arg(&directory).stdin(Stdio::null());
        if run(&mut build).is_err() {
            missing.push(name);
            continue;
        }
        let stamped = fs::write(directory.join(".stamp"), stamp(tree, name).unwrap_or_default());
        stamped.map_err(|error| Failed::while_doing("writing the stamp", error))?;
    }
    Ok(missing)
}

/// The same for somebody who asks for them.
pub fn build(tree: &Tree) -> Result<(), Failed> {
    step("building the server, which makes and packs them");
    run(cargo(tree).args(["build", "--quiet", "--package", "patchbay"]))?;
    match provide(tree)?.as_slice() {
        [] => Ok(()),
        missing => Err(Failed::told(format!("could not be built: {}", missing.join(", ")))),
    }
}

fn stamp(tree: &Tree, name: &str) -> io::Result<String> {
    let example = format!("plugins/examples/{name}");
    let sources = SOURCES.iter().copied().chain([example.as_str()]).map(|source| tree.root.join(source));
    digest(sources.filter(|source| source.exists()))
}

/// The project's folder, made anew; none if it is built and nothing has changed.
fn project(tree: &Tree, name: &str, language: &str) -> io::Result<Option<PathBuf>> {
    let directory = tree.target.join("examples").join(name);
    let component = directory.join("dist").join(format!("{name}.wasm"));
    let built = fs::read_to_string(directory.join(".stamp")).unwrap_or_default();
    if component.is_file() && built == stamp(tree, name)? {
        return Ok(None);
    }
    let before = tree.target.join("examples").join(format!("{name}.before"));
    remove(&before)?;
    if directory.exists() {
        fs::rename(&directory, &before)?;
    }
    let mut new = Command::new(tree.patchbay());
    new.args(["plugin", "new", name, "--lang", language, "--dir"]).arg(&directory).stdout(Stdio::null());
    if !new.status()?.success() {
        return Err(io::Error::other("patchbay plugin new failed"));
    }
    let own = tree.root.join("plugins/examples").join(name);
    if own.is_dir() {
        copy(&own, &directory)?;
    }
    for kept in KEPT.iter().filter(|kept| before.join(kept).exists()) {
        fs::rename(before.join(kept), directory.join(kept))?;
    }
    remove(&before)?;
    if language == "rust"
        && let Ok(compiler) = Compiler::find()
    {
        let manifest = directory.join("plugin.toml");
        let toml = fs::read_to_string(&manifest)?;
        fs::write(manifest, toml.replace("\"cargo build --release", &format!("\"{}", compiler.in_shell())))?;
    }
    Ok(Some(directory))
}

fn remove(directory: &Path) -> io::Result<()> {
    if directory.exists() { fs::remove_dir_all(directory) } else { Ok(()) }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
