//! A plugin's project: a folder with a `plugin.toml` whose `[build]` says how it is built.
//!
//! Owns: running that, packing what comes out, and knowing whether anything has changed. Must not: know languages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use patchbay_runtime::{Build, Manifest};

use crate::cli::plugin;

/// What is made, and what belongs to tools; names with a dot in front are passed over, too.
const NO_SOURCES: [&str; 4] = ["target", "node_modules", "dist", "__pycache__"];

/// The folder of a project and what its manifest says.
pub(super) struct Project {
    directory: PathBuf,
    /// The plugin's name.
    pub name: String,
    build: Build,
}

impl Project {
    pub fn open(directory: &Path) -> Result<Self, String> {
        let file = directory.join("plugin.toml");
        let shown = file.display();
        let toml = fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}"))?;
        let manifest = Manifest::parse(&toml).map_err(|error| format!("{shown}: {error}"))?;
        let build = manifest.build.ok_or_else(|| {
            format!(
                "{shown} does not say how the plugin is built; add e.g.\n\n  [build]\n  command = \"cargo build --release \
                 --target wasm32-unknown-unknown\"\n  component = \"target/wasm32-unknown-unknown/release/plugin.wasm\"\n"
            )
        })?;
        Ok(Self { directory: directory.to_owned(), name: manifest.name, build })
    }

    /// Where the packed component goes.
    pub fn packed(&self) -> PathBuf {
        self.directory.join("dist").join(format!("{}.wasm", self.name))
    }

    /// Whether what was packed is newer than every source.
    pub fn is_built(&self) -> bool {
        let packed = fs::metadata(self.packed()).and_then(|file| file.modified()).ok();
        packed.is_some_and(|packed| newest(&self.directory).is_some_and(|source| source < packed))
    }

    /// Runs the project's command, which talks to the terminal itself, and packs what it made.
    pub fn build(&self) -> Result<PathBuf, String> {
        let Build { command, component } = &self.build;
        let began = SystemTime::now();
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut shell = Command::new(shell);
        shell.arg(flag).arg(command).current_dir(&self.directory).stdin(Stdio::null());
        // Standard output is for the path of what was made.
        shell.stdout(std::io::stderr());
        // The manifest says where the component is: not in a folder that all of its user's projects share.
        shell.env_remove("CARGO_TARGET_DIR");
        let status = shell.status().map_err(|error| format!("{command}: {error}"))?;
        if !status.success() {
            return Err(format!("the command that builds {} failed ({status}): {command}", self.name));
        }
        let made = self.directory.join(component);
        if !made.is_file() {
            let what = format!("{command:?} did not make {}", made.display());
            return Err(format!("{what}; see `component` below [build] in plugin.toml"));
        }
        let packed = self.packed();
        fs::create_dir_all(self.directory.join("dist"))
            .map_err(|error| format!("{}: {error}", packed.display()))?;
        plugin::pack(&made, &self.directory.join("plugin.toml"), &packed)
            .map_err(|error| format!("{}: {error}", made.display()))?;
        // What was saved while it was built is newer than what was built.
        let dated = fs::File::options().write(true).open(&packed).and_then(|file| file.set_modified(began));
        dated.map_err(|error| format!("{}: {error}", packed.display()))?;
        Ok(packed)
    }
}

/// The latest time at which a source below this changed, or a folder of them, which is when one was added or removed.
pub(super) fn newest(path: &Path) -> Option<SystemTime> {
    let mut latest = None;
    for entry in fs::read_dir(path).ok()?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || NO_SOURCES.contains(&name.as_ref()) {
            continue;
        }
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let own = entry.metadata().and_then(|file| file.modified()).ok();
        let below = if is_dir { newest(&entry.path()) } else { None };
        latest = latest.max(own).max(below);
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"a\"\nversion = \"1.0.0\"\n";

    fn project(build: &str) -> (tempfile::TempDir, Result<Project, String>) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("plugin.toml"), format!("{MANIFEST}{build}")).unwrap();
        let project = Project::open(directory.path());
        (directory, project)
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let (_directory, missing) = project("");
        assert!(missing.err().unwrap().contains("[build]"));
        let (_directory, failing) = project("[build]\ncommand = \"exit 3\"\ncomponent = \"a.wasm\"\n");
        assert!(failing.unwrap().build().unwrap_err().contains("exit 3"));
        let (_directory, empty) = project("[build]\ncommand = \"true\"\ncomponent = \"a.wasm\"\n");
        assert!(empty.unwrap().build().unwrap_err().contains("did not make"));
    }

    #[test]
    fn what_is_built_is_built_anew_when_a_source_changes() {
        // An empty component: the preamble.
        let command = r"printf '\\0asm\\015\\0\\001\\0' > a.wasm && mkdir -p target && mv a.wasm target";
        let build = format!("[build]\ncommand = {command:?}\ncomponent = \"target/a.wasm\"\n")
            .replace("\\\\\\\\", "\\\\");
        let (directory, project) = project(&build);
        let project = project.unwrap();
        assert!(!project.is_built());
        project.build().unwrap();
        assert!(project.is_built());
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        let source = fs::File::create(directory.path().join("a.rs")).unwrap();
        source.set_modified(later).unwrap();
        assert!(!project.is_built());
    }
}
