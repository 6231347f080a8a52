//! A plugin's fragment in the document: its schemas under its own names, its operations with what the host does
//! around them.
//!
//! Owns: how a fragment is taken in. Must not: check it; that was done when the plugin was installed.

use std::collections::BTreeSet;

use patchbay_runtime::{Auth, Fragment, Manifest, Route};
use serde_json::{Map, Value, json};

use super::problems;

/// Adds the plugin's routes, with what its fragment says of them.
pub(super) fn add(document: &mut Value, manifest: &Manifest, fragment: Option<&Fragment>) {
    let plugin = manifest.name.as_str();
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.push(json!({ "name": plugin, "description": format!("Plugin: {}.", manifest.description) }));
    }
    let mut responses = document["components"]["responses"].take();
    for route in &manifest.routes {
        for method in &route.methods {
            let method = method.as_str().to_ascii_lowercase();
            let said = fragment.and_then(|fragment| fragment.operation(&route.path, &method));
            let mut operation = said.cloned().unwrap_or_else(|| unsaid(route));
            if let Some(fragment) = fragment {
                rename(&mut operation, plugin, fragment);
            }
            let id = id(plugin, &method, &route.path);
            document["paths"][&route.path][method] = around(operation, manifest, &id, route, &mut responses);
        }
    }
    document["components"]["responses"] = responses;
    let Some(fragment) = fragment else { return };
    for (name, schema) in fragment.schemas() {
        let mut schema = schema.clone();
        rename(&mut schema, plugin, fragment);
        document["components"]["schemas"][format!("{plugin}.{name}")] = schema;
    }
    if let Some(decoration) = fragment.decoration() {
        let mut decoration = decoration.clone();
        rename(&mut decoration, plugin, fragment);
        document["components"]["schemas"]["Message"]["properties"]["extensions"]["properties"][plugin] =
            decoration;
    }
}

/// What can be said of a route that the plugin says nothing of.
fn unsaid(route: &Route) -> Value {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    json!({
        "summary": "Not described by its plugin",
        "parameters": parameters.collect::<Vec<_>>(),
        "responses": { "default": { "description": "What the plugin answers." } },
    })
}

fn id(plugin: &str, method: &str, path: &str) -> String {
    let path: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{plugin}_{method}{path}")
}

/// The operation with the host's part: who may call it, and what it answers when the plugin doesn't.
fn around(mut operation: Value, manifest: &Manifest, id: &str, route: &Route, shared: &mut Value) -> Value {
    operation["tags"] = json!([manifest.name]);
    operation["operationId"] = id.into();
    let mut problems: Vec<(u16, &[&'static str])> = problems::OF_PLUGINS.to_vec();
    problems.push((500, &["internal_error"]));
    match route.auth {
        Auth::Required => operation["security"] = json!([{ "bearer": [] }]),
        Auth::Optional => operation["security"] = json!([{}, { "bearer": [] }]),
        Auth::None => {}
    }
    if route.auth != Auth::None {
        problems.push((401, &["unauthenticated"]));
    }
    if operation.get("requestBody").is_some() {
        problems.push((408, &["request_timeout"]));
        problems.push((413, &["too_large"]));
    }
    let mut none = Map::new();
    let shared = shared.as_object_mut().unwrap_or(&mut none);
    let is_wanted = |capability: &str| manifest.capabilities.iter().any(|wanted| wanted == capability);
    for (status, codes) in problems {
        let mut codes: BTreeSet<_> = codes.iter().copied().collect();
        let mut whose = "plugin".to_owned();
        for (capability, of_it) in problems::OF_CAPABILITIES {
            if status == 503 && is_wanted(capability) {
                codes.extend(of_it.iter().copied());
                whose = format!("{whose}.{capability}");
            }
        }
        let responses = &mut operation["responses"][status.to_string()];
        if responses.is_null() {
            *responses = problems::response(shared, status, &codes, &whose);
        }
    }
    for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        // What headers a plugin describes was not looked at when it was installed.
        let Some(response) = response.as_object_mut().filter(|response| !response.contains_key("$ref"))
        else {
            continue;
        };
        let headers = response.entry("headers").or_insert_with(|| json!({}));
        if let Some(headers) = headers.as_object_mut() {
            headers.insert("X-Request-Id".into(), json!({ "$ref": "#/components/headers/X-Request-Id" }));
        }
    }
    operation
}

/// References to the plugin's own schemas get the names that they have here.
fn rename(value: &mut Value, plugin: &str, fragment: &Fragment) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(reference) if name == "$ref" => {
                        if let Some(own) = fragment.own_schema(reference) {
                            *reference = format!("#/components/schemas/{plugin}.{own}");
                        }
                    }
                    other => rename(other, plugin, fragment),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, plugin, fragment)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
        name = "polls"
        version = "1.0.0"
        description = "Polls"
        [[routes]]
        methods = ["GET", "POST"]
        path = "/api/plugins/polls/{id}"
        auth = "optional"
    "#;
    const FRAGMENT: &str = r##"{
        "paths": { "/api/plugins/polls/{id}": { "get": { "summary": "Get", "responses": {
            "200": { "description": "x", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/User" } } } },
            "400": { "description": "x", "headers": 5 },
            "404": { "description": "x", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } }
        } } } },
        "components": { "schemas": { "User": { "properties": { "me": { "$ref": "#/components/schemas/User" } } } } }
    }"##;

    #[test]
    fn nothing_of_a_plugin_clashes_with_the_host() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let fragment = Fragment::parse(FRAGMENT, &manifest).unwrap();
        let mut document = super::super::core().clone();
        add(&mut document, &manifest, Some(&fragment));
        let own = "#/components/schemas/polls.User";
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["polls.User"]["properties"]["me"]["$ref"], own);
        assert!(schemas["User"]["properties"]["username"].is_object());
        let get = &document["paths"]["/api/plugins/polls/{id}"]["get"];
        assert_eq!(get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"], own);
        let problem = &get["responses"]["404"]["content"]["application/problem+json"]["schema"];
        assert_eq!(problem["$ref"], "#/components/schemas/Problem");
        assert_eq!((&get["tags"], &get["security"]), (&json!(["polls"]), &json!([{}, { "bearer": [] }])));
        for status in ["401", "502", "503", "504"] {
            let reference = get["responses"][status]["$ref"].as_str().unwrap();
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn a_route_that_nothing_is_said_of_is_listed_all_the_same() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let mut document = super::super::core().clone();
        add(&mut document, &manifest, None);
        let post = &document["paths"]["/api/plugins/polls/{id}"]["post"];
        assert_eq!(post["parameters"][0]["name"], "id");
        assert!(post["responses"]["default"].is_object());
    }
}
