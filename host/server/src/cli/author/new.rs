//! `patchbay plugin new`: a project that is built anywhere, with nothing but its language's own tools.
//!
//! Owns: which files a project has. Must not: know what is in them; they are in `plugins/templates`.

use std::{fs, path::Path};

use clap::ValueEnum;
use patchbay_runtime::Manifest;

use crate::cli::say;

mod templates {
    include!(concat!(env!("OUT_DIR"), "/templates.rs"));
}

/// A language that there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Language {
    /// Rust.
    Rust,
    /// JavaScript.
    Js,
    /// Python.
    Python,
}

/// Where the SDK goes; it looks for the contract two folders up.
const SDK: &str = "vendor/patchbay-sdk";

/// The lines of the SDK's manifest that are about this repository.
const OF_THIS_REPOSITORY: &str = "# Nothing is inherited but the lints: `patchbay plugin new` puts this package into projects of \
                                  its own.\n[lints]\nworkspace = true\n\n";

/// Makes a project.
pub(super) fn make(name: &str, language: Language, directory: &Path) -> Result<(), String> {
    // The manifest's own rule, and its words.
    Manifest::parse(&format!("name = {name:?}\nversion = \"0.1.0\"\n")).map_err(|error| error.to_string())?;
    let shown = directory.display();
    let is_empty = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    if !is_empty {
        return Err(format!("{shown} is not empty"));
    }
    for (file, text) in files(name, language) {
        let path = directory.join(&file);
        let folder = path.parent().unwrap_or(directory);
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let test = match language {
        Language::Rust => "cargo test",
        Language::Js => "npm test",
        Language::Python => "python3 -m unittest",
    };
    say(&format!(
        "{shown} is a plugin. Next:\n\n  cd {shown}\n  {test}\n  patchbay dev .\n\nREADME.md there tells what is where."
    ));
    Ok(())
}

/// The files of a project, by their path.
fn files(name: &str, language: Language) -> Vec<(String, String)> {
    let template = match language {
        Language::Rust => templates::RUST,
        Language::Js => templates::JS,
        Language::Python => templates::PYTHON,
    };
    let filled_in = |(file, text): &(&str, &str)| {
        // A name with a dot would be meant for this repository.
        let file = if *file == "gitignore" { ".gitignore" } else { file };
        (file.to_owned(), text.replace("{{name}}", name))
    };
    let mut files: Vec<_> = template.iter().map(filled_in).collect();
    let contract = templates::WIT.iter().filter(|(file, _)| file.ends_with(".wit"));
    files.extend(contract.map(|(file, text)| (format!("wit/{file}"), (*text).to_owned())));
    if language == Language::Rust {
        let sdk = templates::SDK
            .iter()
            .map(|(file, text)| (format!("{SDK}/{file}"), text.replace(OF_THIS_REPOSITORY, "")));
        files.extend(sdk);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_needs_nothing_of_this_repository() {
        for language in [Language::Rust, Language::Js, Language::Python] {
            let files = files("my-plugin", language);
            for (file, text) in &files {
                assert!(!text.contains("{{"), "{file}");
                assert!(!file.ends_with("Cargo.toml") || !text.contains("workspace = true"), "{file}");
            }
            let of = |name: &str| &files.iter().find(|(file, _)| file == name).unwrap().1;
            let manifest = Manifest::parse(of("plugin.toml")).unwrap();
            assert_eq!(manifest.name, "my-plugin");
            assert!(manifest.build.is_some());
            for file in ["README.md", ".gitignore", "wit/types.wit"] {
                assert!(!of(file).is_empty(), "{file}");
            }
        }
    }

    #[test]
    fn nothing_is_written_over_and_names_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("mine"), "").unwrap();
        assert!(make("a", Language::Js, directory.path()).unwrap_err().contains("not empty"));
        for name in ["", "A", "../a", "a\"b", "a_b"] {
            let target = directory.path().join("new");
            assert!(make(name, Language::Js, &target).unwrap_err().contains("name"), "{name}");
            assert!(!target.exists());
        }
    }
}
