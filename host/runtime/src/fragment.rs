//! A plugin's part of the OpenAPI document: what it says of its own routes.
//!
//! Owns: its form and its rules. Must not: know the document that it becomes part of, beyond the few schemas that
//! it may refer to.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::manifest::{Manifest, ManifestError};

/// Schemas of the host that a fragment may refer to.
pub const HOST_SCHEMAS: [&str; 6] = ["Problem", "Time", "User", "Channel", "Message", "File"];

/// Deepest nesting of a fragment.
const MAX_DEPTH: usize = 32;
const SCHEMA: &str = "#/components/schemas/";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// A checked fragment: `paths` with operations of the plugin's routes, `components.schemas`, and perhaps
/// `x-decoration`, the schema of what the plugin adds to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    decoration: Option<Value>,
}

impl Fragment {
    /// Reads and checks the fragment of the plugin with that manifest. It may describe only routes that the
    /// manifest has, refer only to its own schemas and [`HOST_SCHEMAS`], and leaves operation ids, tags and
    /// security to the host.
    ///
    /// # Errors
    /// What is wrong, for its author.
    pub fn parse(json: &str, manifest: &Manifest) -> Result<Self, ManifestError> {
        let wrong = |what: String| ManifestError(format!("openapi: {what}"));
        let mut fragment: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        let paths = object(fragment.remove("paths"), "paths").map_err(wrong)?;
        let mut components = object(fragment.remove("components"), "components").map_err(wrong)?;
        let schemas = object(components.remove("schemas"), "components.schemas").map_err(wrong)?;
        let decoration = fragment.remove("x-decoration");
        if let Some(name) = fragment.keys().chain(components.keys()).next() {
            return Err(wrong(format!(
                "{name}: is not known; there are paths, components.schemas, x-decoration"
            )));
        }
        let fragment = Self { paths, schemas, decoration };
        fragment.check_names().map_err(wrong)?;
        fragment.check_paths(manifest).map_err(wrong)?;
        let parts = fragment.paths.values().chain(fragment.schemas.values()).chain(&fragment.decoration);
        for part in parts {
            fragment.check_value(part, 0).map_err(wrong)?;
        }
        Ok(fragment)
    }

    /// The Operation Object of a route; `method` in lower case.
    pub fn operation(&self, path: &str, method: &str) -> Option<&Value> {
        self.paths.get(path)?.get(method)
    }

    /// The schemas by their names within the plugin.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.schemas.iter().map(|(name, schema)| (name.as_str(), schema))
    }

    /// The schema of what the plugin adds to a message.
    pub fn decoration(&self) -> Option<&Value> {
        self.decoration.as_ref()
    }

    /// The name of the plugin's own schema that `reference` refers to.
    pub fn own_schema<'a>(&self, reference: &'a str) -> Option<&'a str> {
        reference.strip_prefix(SCHEMA).filter(|name| self.schemas.contains_key(*name))
    }

    fn check_names(&self) -> Result<(), String> {
        let valid = |name: &str| {
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if let Some((name, _)) =
            self.schemas.iter().find(|(_, schema)| !schema.is_object() && !schema.is_boolean())
        {
            return Err(format!("components.schemas.{name}: must be a schema"));
        }
        match self.schemas.keys().find(|name| !valid(name)) {
            Some(name) => {
                Err(format!("components.schemas.{name}: a name is 1 to 64 of letters, digits and _"))
            }
            None => Ok(()),
        }
    }

    fn check_paths(&self, manifest: &Manifest) -> Result<(), String> {
        for (path, item) in &self.paths {
            let routes: Vec<_> = manifest.routes.iter().filter(|route| route.path == *path).collect();
            let methods: BTreeSet<String> = routes
                .iter()
                .flat_map(|route| &route.methods)
                .map(|method| method.as_str().to_ascii_lowercase())
                .collect();
            for (method, operation) in item.as_object().ok_or_else(|| format!("{path}: must be an object"))? {
                if !METHODS.contains(&method.as_str()) || !methods.contains(method) {
                    return Err(format!("{method} {path}: is no route of the manifest"));
                }
                let known = ["summary", "description", "parameters", "requestBody", "responses"];
                let operation =
                    operation.as_object().ok_or_else(|| format!("{method} {path}: must be an object"))?;
                if let Some(name) = operation.keys().find(|name| !known.contains(&name.as_str())) {
                    return Err(format!("{method} {path}: {name}: is not one of {}", known.join(", ")));
                }
                let responses = operation.get("responses").and_then(Value::as_object);
                if !responses
                    .is_some_and(|all| all.iter().all(|(name, one)| is_status(name) && one.is_object()))
                {
                    return Err(format!("{method} {path}: responses: must be objects by status"));
                }
                let is_odd = |name: &str, is_right: fn(&Value) -> bool| {
                    operation.get(name).is_some_and(|value| !is_right(value))
                };
                let are_objects =
                    |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_object));
                if is_odd("summary", Value::is_string)
                    || is_odd("description", Value::is_string)
                    || is_odd("requestBody", Value::is_object)
                    || is_odd("parameters", are_objects)
                {
                    return Err(format!("{method} {path}: a part has the wrong type"));
                }
            }
        }
        Ok(())
    }

    fn check_value(&self, value: &Value, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("is nested deeper than {MAX_DEPTH}"));
        }
        match value {
            Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match value {
                Value::String(reference) if matches!(name.as_str(), "$ref" | "$dynamicRef") => {
                    self.check_ref(reference)
                }
                Value::String(_) if matches!(name.as_str(), "$id" | "$schema" | "$anchor") => {
                    Err(format!("{name}: may not be used"))
                }
                other => self.check_value(other, depth + 1),
            }),
            Value::Array(items) => items.iter().try_for_each(|item| self.check_value(item, depth + 1)),
            _ => Ok(()),
        }
    }

    fn check_ref(&self, reference: &str) -> Result<(), String> {
        let known = reference
            .strip_prefix(SCHEMA)
            .is_some_and(|name| self.schemas.contains_key(name) || HOST_SCHEMAS.contains(&name));
        if known {
            return Ok(());
        }
        let host = HOST_SCHEMAS.join(", ");
        Err(format!("$ref {reference:?}: must be {SCHEMA}NAME of its own, or one of {host}"))
    }
}

/// `200`, `4XX` or `default`.
fn is_status(name: &str) -> bool {
    let [first, rest @ ..] = name.as_bytes() else { return false };
    let is_code = rest.len() == 2 && (rest == b"XX" || rest.iter().all(u8::is_ascii_digit));
    name == "default" || (b'1'..=b'5').contains(first) && is_code
}

fn object(value: Option<Value>, name: &str) -> Result<Map<String, Value>, String> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(format!("{name}: must be an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Fragment, ManifestError> {
        let manifest = Manifest::parse(
            "name = \"a\"\nversion = \"1.0.0\"\n[[routes]]\nmethod = \"GET\"\npath = \"/api/plugins/a/{id}\"\nauth = \"none\"",
        );
        Fragment::parse(json, &manifest.unwrap())
    }

    #[test]
    fn what_a_plugin_may_say() {
        let fragment = parse(
            r##"{
                "paths": { "/api/plugins/a/{id}": { "get": {
                    "summary": "x",
                    "responses": { "200": { "description": "x", "content": { "application/json": {
                        "schema": { "$ref": "#/components/schemas/Thing" } } } } } } } },
                "components": { "schemas": { "Thing": { "properties": { "at": { "$ref": "#/components/schemas/Time" } } } } },
                "x-decoration": { "type": "integer" }
            }"##,
        );
        let fragment = fragment.unwrap();
        assert!(fragment.operation("/api/plugins/a/{id}", "get").is_some());
        assert!(fragment.operation("/api/plugins/a/{id}", "post").is_none());
        assert_eq!(fragment.own_schema("#/components/schemas/Thing"), Some("Thing"));
        assert_eq!(fragment.own_schema("#/components/schemas/Time"), None);
        assert!(parse("{}").is_ok());
    }

    #[test]
    fn what_it_may_not() {
        let deep = format!("{{\"x-decoration\":{}1{}}}", "[".repeat(40), "]".repeat(40));
        for bad in [
            "",
            "[]",
            r#"{"info":{}}"#,
            r#"{"components":{"responses":{}}}"#,
            r#"{"paths":{"/api/users/me":{"get":{"responses":{}}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"post":{"responses":{}}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"parameters":[]}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"get":{}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"get":{"responses":{"200":1}}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"get":{"responses":{},"security":[]}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"get":{"responses":{"banana":{}}}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"get":{"responses":{},"parameters":5}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"get":{"responses":{},"parameters":[5]}}}}"#,
            r#"{"paths":{"/api/plugins/a/{id}":{"get":{"responses":{},"requestBody":"x"}}}}"#,
            r#"{"components":{"schemas":{"A":7}}}"#,
            r#"{"components":{"schemas":{"a.b":{}}}}"#,
            r##"{"components":{"schemas":{"A":{"$ref":"#/components/schemas/Session"}}}}"##,
            r#"{"components":{"schemas":{"A":{"$ref":"http://example.org/schema"}}}}"#,
            r#"{"components":{"schemas":{"A":{"$id":"http://example.org/schema"}}}}"#,
            &deep,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
