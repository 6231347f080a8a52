//! Components on their way in, and what they are granted.

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use http::Method;
use patchbay_runtime::{Inspection, Runtime};
use serde_json::{Map, Value, json};

use super::{find, list, path, show};
use crate::{
    app::StartError,
    cli::{operator::Operator, say},
};

/// Where a component comes from.
#[derive(Args)]
pub(in crate::cli) struct Source {
    /// A component from `patchbay plugin pack`.
    file: PathBuf,
    /// Grant everything that it wants, after printing it.
    #[arg(long)]
    grant_all: bool,
}

pub(in crate::cli) fn pack(input: &Path, manifest: &Path, out: &Path) -> Result<(), String> {
    let wasm = read(input)?;
    let toml =
        std::fs::read_to_string(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let packed =
        patchbay_runtime::pack(&wasm, &toml, |file| std::fs::read_to_string(manifest.with_file_name(file)))
            .map_err(|error| error.to_string())?;
    std::fs::write(out, packed).map_err(|error| format!("{}: {error}", out.display()))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// A component in a file.
pub(super) struct Candidate {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What it says of itself.
    pub inspection: Inspection,
    /// The file of its signature.
    pub signature: Option<Vec<u8>>,
}

impl Candidate {
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let bytes = read(file)?;
        let inspection = Runtime::inspect(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut beside = file.as_os_str().to_owned();
        beside.push(".minisig");
        let beside = Path::new(&beside);
        let signature = if beside.exists() { Some(read(beside)?) } else { None };
        Ok(Self { bytes, inspection, signature })
    }

    fn name(&self) -> &str {
        &self.inspection.manifest.name
    }

    /// The capabilities and routes that it wants.
    fn wants(&self) -> BTreeSet<String> {
        let manifest = &self.inspection.manifest;
        let routes = manifest.routes.iter().map(|route| &route.path).filter(|path| !manifest.owns_path(path));
        routes.cloned().chain(manifest.wanted()).collect()
    }

    async fn send(self, way: &Operator, name: &str) -> Result<Value, StartError> {
        let signature = self.signature.map(|file| STANDARD.encode(file));
        way.put_component(&path(name, ""), self.bytes, signature.as_deref()).await
    }
}

/// Installs a component, or puts it in place of the version that serves, and grants what it wants.
pub(in crate::cli) async fn take_in(way: &Operator, name: &str, file: PathBuf) -> Result<(), StartError> {
    let source = Source { file, grant_all: true };
    if list(way).await?.iter().any(|plugin| show::text(plugin, "name") == name) {
        upgrade(way, name, &source).await
    } else {
        install(way, &source).await
    }
}

pub(super) async fn install(way: &Operator, source: &Source) -> Result<(), StartError> {
    let candidate = Candidate::read(&source.file)?;
    let name = candidate.name().to_owned();
    if list(way).await?.iter().any(|plugin| show::text(plugin, "name") == name) {
        let file = source.file.display();
        return Err(
            format!("{name} is installed; replace it by `patchbay plugin upgrade {name} {file}`").into()
        );
    }
    let plugin = candidate.send(way, &name).await?;
    let missing = missing(&plugin);
    if missing.is_empty() {
        show::state(&plugin);
        return Ok(());
    }
    say(&format!("{name} {} wants:", show::text(&plugin, "version")));
    missing.iter().for_each(|grant| say(&format!("  {}", explained(grant))));
    if may_grant(source, &name) {
        let plugin = patch_grants(way, &name, &plugin, &missing, true).await?;
        show::state(&plugin);
    } else {
        let all = missing.into_iter().collect::<Vec<_>>().join(" ");
        say(&format!("it is kept and waits; let it serve by\n  patchbay plugin grant {name} {all}"));
    }
    Ok(())
}

pub(super) async fn upgrade(way: &Operator, name: &str, source: &Source) -> Result<(), StartError> {
    let candidate = Candidate::read(&source.file)?;
    let before = find(way, name).await?;
    let version = candidate.inspection.manifest.version.to_string();
    say(&format!("{name} {} -> {version}", show::text(&before, "version")));
    let (old, new) = (wanted(&before), candidate.wants());
    new.difference(&old).for_each(|grant| say(&format!("  + {}", explained(grant))));
    old.difference(&new).for_each(|grant| say(&format!("  - {}", explained(grant))));
    let missing: BTreeSet<_> = new.difference(&granted(&before)).cloned().collect();
    if missing.is_empty() {
        show::state(&candidate.send(way, name).await?);
        return Ok(());
    }
    if !may_grant(source, name) {
        let all = missing.into_iter().collect::<Vec<_>>().join(" ");
        let how = format!("grant it by --grant-all or `patchbay plugin grant {name} {all}`");
        return Err(format!("{name} {version} wants more than {name} has; {how}").into());
    }
    patch_grants(way, name, &before, &missing, true).await?;
    match candidate.send(way, name).await {
        Ok(plugin) => show::state(&plugin),
        Err(error) => {
            // Granted for a version that did not come.
            let now = find(way, name).await?;
            patch_grants(way, name, &now, &missing, false).await?;
            return Err(error);
        }
    }
    Ok(())
}

pub(super) async fn grant(
    way: &Operator,
    name: &str,
    grants: &[String],
    give: bool,
) -> Result<(), StartError> {
    let plugin = find(way, name).await?;
    let grants = grants.iter().cloned().collect();
    show::state(&patch_grants(way, name, &plugin, &grants, give).await?);
    Ok(())
}

/// Gives or takes capabilities and routes; of the two lists only what changes is sent, since the settings may manage
/// the other.
async fn patch_grants(
    way: &Operator,
    name: &str,
    plugin: &Value,
    grants: &BTreeSet<String>,
    give: bool,
) -> Result<Value, StartError> {
    let mut body = Map::new();
    for (field, granted, is_route) in
        [("grants", "capabilities_granted", false), ("routes", "routes_granted", true)]
    {
        let of_it: BTreeSet<_> =
            grants.iter().filter(|grant| grant.starts_with('/') == is_route).cloned().collect();
        if of_it.is_empty() {
            continue;
        }
        let before = texts(plugin, granted);
        let after: BTreeSet<_> = if give { &before | &of_it } else { &before - &of_it };
        body.insert(field.to_owned(), json!(after));
    }
    way.call(Method::PATCH, &path(name, ""), Some(&body.into())).await
}

/// What it wants and has not.
fn missing(plugin: &Value) -> BTreeSet<String> {
    &wanted(plugin) - &granted(plugin)
}

fn wanted(plugin: &Value) -> BTreeSet<String> {
    &texts(plugin, "capabilities_wanted") | &texts(plugin, "routes_wanted")
}

fn granted(plugin: &Value) -> BTreeSet<String> {
    &texts(plugin, "capabilities_granted") | &texts(plugin, "routes_granted")
}

fn texts(plugin: &Value, field: &str) -> BTreeSet<String> {
    let texts = plugin.get(field).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn explained(grant: &str) -> String {
    if grant.starts_with('/') { format!("the route {grant}") } else { format!("the capability {grant}") }
}

/// Whether what is wanted, which has been printed, is granted.
fn may_grant(source: &Source, name: &str) -> bool {
    source.grant_all || ask(&format!("Grant {name} all of this?")) == Some(true)
}

/// Asks whoever sits at the terminal; none if nobody does.
pub(super) fn ask(question: &str) -> Option<bool> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return None;
    }
    let mut out = std::io::stdout();
    write!(out, "{question} [y/N] ").and_then(|()| out.flush()).ok()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    Some(matches!(line.trim(), "y" | "Y" | "yes"))
}
