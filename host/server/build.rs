//! What `patchbay plugin new` writes is part of the program: the templates, the contract and the SDK.

use std::{fmt::Write as _, fs, io, path::Path};

/// What goes into which list, and from where.
const LISTS: [(&str, &str); 5] = [
    ("RUST", "plugins/templates/rust"),
    ("JS", "plugins/templates/js"),
    ("PYTHON", "plugins/templates/python"),
    ("WIT", "wit"),
    ("SDK", "plugins/sdk"),
];

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut code = String::new();
    for (list, folder) in LISTS {
        let folder = root.join(folder);
        println!("cargo:rerun-if-changed={}", folder.display());
        let mut files = Vec::new();
        gather(&folder, "", &mut files)?;
        // Writing to a String can't fail.
        let _ = writeln!(code, "pub const {list}: &[(&str, &str)] = &[");
        for file in files {
            let path = folder.join(&file);
            let _ = writeln!(code, "    ({file:?}, include_str!({:?})),", path.display().to_string());
        }
        code.push_str("];\n");
    }
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("templates.rs"), code)
}

/// The files below a folder, by their path from there, but for what is no part of a project: released contracts, READMEs of
/// this repository, what tools leave behind.
fn gather(root: &Path, below: &str, files: &mut Vec<String>) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(root.join(below))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        if name.starts_with('.')
            || ["released", "target", "__pycache__", "node_modules"].contains(&name.as_str())
        {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if root.join(&path).is_dir() {
            gather(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
