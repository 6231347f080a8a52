//! Reading a request as the API's conventions want it read: unknown fields refused, numbers in range.
//!
//! Owns: the checks that every JSON endpoint makes. Must not: know any endpoint.

use serde_json::{Map, Value};

use crate::{Request, answer::Problem};

/// A page of a list, from `?limit=` (1 to 200, default 50) and `?after=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Most items.
    pub limit: u32,
    /// The id after which it starts.
    pub after: Option<u64>,
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The first query parameter of that name.
pub fn query<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    find(&request.query, name)
}

/// A parameter of the route's template.
pub fn param<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    find(&request.params, name)
}

/// A parameter of the route's template that is an id.
///
/// # Errors
/// 422 if it is no positive integer.
pub fn id_param(request: &Request, name: &str) -> Result<u64, Problem> {
    id(name, param(request, name).unwrap_or_default())
}

fn id(field: &str, text: &str) -> Result<u64, Problem> {
    let valid = text.parse().ok().filter(|id| (1..=i64::MAX as u64).contains(id));
    valid.ok_or_else(|| Problem::field(field, "format", "must be a positive integer"))
}

/// The page that the query asks for.
///
/// # Errors
/// 422 if `limit` or `after` is out of range.
pub fn page(request: &Request) -> Result<Page, Problem> {
    let limit = match query(request, "limit") {
        None => 50,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=200).contains(limit))
            .ok_or_else(|| Problem::field("limit", "out_of_range", "must be 1 to 200"))?,
    };
    let after = query(request, "after").map(|text| id("after", text)).transpose()?;
    Ok(Page { limit, after })
}

/// Demands that the body is declared as JSON.
pub(crate) fn check_json_type(request: &Request) -> Result<(), Problem> {
    let content_type = find(&request.headers, "content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        Ok(())
    } else {
        Err(Problem::new(415, "unsupported_media_type", "The body must be application/json."))
    }
}

/// The body as a JSON object that has no members but `allowed`.
///
/// # Errors
/// 415 if it is not declared as JSON, 400 if it is no JSON, 422 if it is no object or has other members.
pub fn object(request: &Request, allowed: &[&str]) -> Result<Map<String, Value>, Problem> {
    check_json_type(request)?;
    let value: Value = serde_json::from_slice(&request.body)
        .map_err(|error| Problem::new(400, "malformed_json", format!("The body is no JSON: {error}.")))?;
    let Value::Object(object) = value else {
        return Err(Problem::field("body", "invalid_type", "must be a JSON object"));
    };
    let unknown: Vec<_> = object.keys().filter(|key| !allowed.contains(&key.as_str())).collect();
    if let [first, rest @ ..] = unknown.as_slice() {
        let mut problem = Problem::field(first.as_str(), "unknown_field", "is not a field of this request");
        for key in rest {
            let more = Problem::field(key.as_str(), "unknown_field", "is not a field of this request");
            problem.errors.extend(more.errors);
        }
        return Err(problem);
    }
    Ok(object)
}

/// A member of the body that must be a string.
///
/// # Errors
/// 422 if it is missing or no string.
pub fn string<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, Problem> {
    match object.get(field) {
        None | Some(Value::Null) => Err(Problem::field(field, "missing", "is needed")),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Problem::field(field, "invalid_type", "must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(content_type: &str, body: &str, query: &[(&str, &str)]) -> Request {
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Request {
            method: "POST".to_owned(),
            path: "/x".to_owned(),
            route: "/x".to_owned(),
            params: Vec::new(),
            query: owned(query),
            headers: owned(&[("content-type", content_type)]),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn bodies() {
        let status = |content_type: &str, body: &str| {
            object(&request(content_type, body, &[]), &["a"]).map_err(|p| (p.status, p.code))
        };
        assert!(status("application/json; charset=utf-8", r#"{"a":1}"#).is_ok());
        assert_eq!(status("text/plain", "{}"), Err((415, "unsupported_media_type".into())));
        assert_eq!(status("application/json", "{"), Err((400, "malformed_json".into())));
        assert_eq!(status("application/json", "[]"), Err((422, "validation_failed".into())));
        assert_eq!(status("application/json", r#"{"a":1,"b":2}"#), Err((422, "validation_failed".into())));
    }

    #[test]
    fn deep_json_is_refused_not_overflown() {
        let body = "[".repeat(100_000);
        let refused = object(&request("application/json", &body, &[]), &[]).map_err(|p| p.status);
        assert_eq!(refused, Err(400));
    }

    #[test]
    fn pages() {
        let page_of = |query: &[(&str, &str)]| page(&request("", "", query)).map_err(|p| p.status);
        assert_eq!(page_of(&[]), Ok(Page { limit: 50, after: None }));
        assert_eq!(page_of(&[("limit", "200"), ("after", "7")]), Ok(Page { limit: 200, after: Some(7) }));
        for bad in [("limit", "0"), ("limit", "201"), ("limit", "x"), ("after", "0"), ("after", "-1")] {
            assert_eq!(page_of(&[bad]), Err(422), "{bad:?}");
        }
    }
}
