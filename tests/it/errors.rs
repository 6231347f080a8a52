//! The catalogue of errors, `plugins/ERRORS.md`, against the code.

use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// What stands between backquotes in the first column of the tables under these headings.
fn catalogued(page: &str, headings: &[&str]) -> BTreeSet<String> {
    let sections =
        page.split("\n## ").filter(|section| headings.iter().any(|name| section.starts_with(name)));
    let rows = sections.flat_map(str::lines).filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Every text in quotes in a file.
fn quoted(source: &str) -> BTreeSet<String> {
    source.split('"').filter(|text| is_code(text)).map(str::to_owned).collect()
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_code_is_in_the_catalogue_and_nothing_else_is() {
    let page = fs::read_to_string(root().join("plugins/ERRORS.md")).unwrap();
    let error = fs::read_to_string(root().join("host/runtime/src/error.rs")).unwrap();
    // The code of each case stands behind `=>` in the functions `code`.
    let of_cases: BTreeSet<String> = error
        .lines()
        .filter_map(|line| line.trim().split_once("=> \"")?.1.strip_suffix("\","))
        .filter(|text| is_code(text))
        .map(str::to_owned)
        .collect();
    assert!(of_cases.contains("import_unknown") && of_cases.contains("plugin_trapped"), "{of_cases:?}");
    let listed = catalogued(&page, &["A component", "A call", "A host function"]);
    let missing: Vec<_> = of_cases.difference(&listed).collect();
    assert!(missing.is_empty(), "plugins/ERRORS.md lacks {missing:?}");
    let of_failures = catalogued(&page, &["A component", "A call"]);
    let gone: Vec<_> = of_failures.difference(&of_cases).collect();
    assert!(gone.is_empty(), "plugins/ERRORS.md has {gone:?}, which no failure has");

    let mut code = String::new();
    sources(&root().join("host/runtime/src"), &mut code);
    sources(&root().join("host/server/src"), &mut code);
    let known = quoted(&code);
    for code in catalogued(&page, &["A host function"]) {
        let thing = code.strip_suffix("_not_found").unwrap_or(&code);
        assert!(
            known.contains(&code) || known.contains(thing),
            "plugins/ERRORS.md has {code}, which nothing says"
        );
    }
}
