//! Finding a compiler for `wasm32-unknown-unknown`.
//!
//! Owns: the order in which compilers are tried, and installing one. Must not: install anything that the
//! environment forbids.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{Failed, output, run, step, succeeds};

pub const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler and the packages that bring it and the source of the standard library.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// A way to compile for [`TARGET`].
pub enum Compiler {
    /// The toolchain has the target's standard library.
    Installed,
    /// The distribution's compiler builds the standard library from its source.
    FromSource {
        /// The compiler.
        rustc: PathBuf,
        /// A linker for WebAssembly.
        linker: PathBuf,
    },
}

impl Compiler {
    /// The first that works, installing one if need be and allowed.
    pub fn find() -> Result<Self, Failed> {
        if installed() {
            return Ok(Self::Installed);
        }
        if let Some(from_source) = from_source() {
            return Ok(from_source);
        }
        let forbidden = std::env::var_os("RUSTUP_AUTO_INSTALL").is_some_and(|value| value == "0");
        if !forbidden && succeeds(Command::new("rustup").arg("--version")) {
            step(&format!("rustup target add {TARGET}"));
            if run(Command::new("rustup").args(["target", "add", TARGET])).is_ok() && installed() {
                return Ok(Self::Installed);
            }
        }
        if let Some(compiler) = from_debian() {
            return Ok(compiler);
        }
        Err(Failed::told(format!(
            "no compiler for {TARGET}. Any of these helps:\n  \
             rustup target add {TARGET}\n  \
             apt-get install {} lld    (Debian; as root)",
            DEBIAN_PACKAGES.join(" ")
        )))
    }

    /// Sets up a `cargo build` for it.
    pub fn configure(&self, cargo: &mut Command) {
        cargo.args(["--target", TARGET]);
        let mut flags = vec![
            // Guests are shallow; the default of 1 MiB is address space that each instance carries along. The
            // stack lies below the data, so running over its end traps.
            "-Clink-arg=-zstack-size=65536".to_owned(),
        ];
        if let Self::FromSource { rustc, linker } = self {
            cargo.args(["-Zbuild-std=std,panic_abort"]);
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            flags.push("-Clinker-flavor=wasm-ld".to_owned());
        }
        // Goes before RUSTFLAGS, which are for the host. 0x1f separates (cargo's environment variables).
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }

    /// The beginning of a shell's line that builds for release with it.
    pub fn in_shell(&self) -> String {
        match self {
            Self::Installed => "cargo build --release".to_owned(),
            Self::FromSource { rustc, linker } => format!(
                "RUSTC={} RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER={} cargo build \
                 -Zbuild-std=std,panic_abort --release",
                rustc.display(),
                linker.display()
            ),
        }
    }

    /// Tells one from another in a stamp.
    pub fn describe(&self) -> String {
        match self {
            Self::Installed => format!("{TARGET} of the toolchain"),
            Self::FromSource { rustc, .. } => format!("{} with its library's source", rustc.display()),
        }
    }
}

fn installed() -> bool {
    let directory = output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    let Some(directory) = directory else { return false };
    let Ok(mut files) = Path::new(&directory).read_dir() else { return false };
    files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

fn from_source() -> Option<Compiler> {
    let rustc = PathBuf::from(DEBIAN_RUSTC);
    // "rustc 1.96.0 (…)": one that is older than the workspace asks for would only fail later.
    let version = output(Command::new(&rustc).arg("--version"))?;
    if !is_recent(version.split(' ').nth(1)?, env!("CARGO_PKG_RUST_VERSION")) {
        return None;
    }
    let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/src/lib.rs");
    if !source.is_file() {
        return None;
    }
    let linker = linker(&rustc)?;
    Some(Compiler::FromSource { rustc, linker })
}

/// Whether a version is at least another one, by their numbers for major and minor.
fn is_recent(version: &str, least: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        text.split('.').take(2).map(|number| number.parse().unwrap_or(0)).collect()
    };
    numbers(version) >= numbers(least)
}

/// The linker that comes with a Rust toolchain, or LLVM's own.
fn linker(debian: &Path) -> Option<PathBuf> {
    let of_toolchains = [Path::new("rustc"), debian].into_iter().filter_map(|rustc| {
        let directory = output(Command::new(rustc).args(["--print", "target-libdir"]))?;
        Some(Path::new(&directory).parent()?.join("bin/rust-lld"))
    });
    let of_system = ["/usr/bin/wasm-ld", "/usr/bin/rust-lld"].map(PathBuf::from);
    of_toolchains.chain(of_system).find(|linker| linker.is_file())
}

fn from_debian() -> Option<Compiler> {
    let is_root = output(Command::new("id").arg("-u"))? == "0";
    if !is_root || !Path::new("/etc/debian_version").is_file() {
        return None;
    }
    let mut packages = DEBIAN_PACKAGES.to_vec();
    if linker(Path::new(DEBIAN_RUSTC)).is_none() {
        packages.push("lld");
    }
    step(&format!("apt-get install {}", packages.join(" ")));
    // First the lists: old ones name a compiler that is too old.
    run(Command::new("apt-get").args(["update", "-q"])).ok()?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    run(install.env("DEBIAN_FRONTEND", "noninteractive")).ok()?;
    from_source()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_recent("1.96.0", "1.95"));
        assert!(is_recent("1.95.0", "1.95"));
        assert!(is_recent("1.100.0", "1.95"));
        assert!(is_recent("2.0.0", "1.95"));
        assert!(!is_recent("1.85.0", "1.95"));
        assert!(!is_recent("", "1.95"));
    }
}
