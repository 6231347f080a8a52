//! Answering the routes of the manifest: a function for each, JSON in and out, problems as the API has them.
//!
//! ```
//! use patchbay_sdk::{
//!     Actor, Error, Http, Request, Response,
//!     answer::{Answer, Problem},
//!     json, messages,
//!     routes::{Call, Routes},
//! };
//!
//! struct Notes;
//!
//! #[derive(serde::Deserialize)]
//! struct NewNote {
//!     channel: u64,
//!     text: String,
//! }
//!
//! fn add(call: &Call) -> Result<Answer, Problem> {
//!     let note: NewNote = call.json()?;
//!     let posted = messages::post(call.caller()?, note.channel, &note.text, None, &[])?;
//!     Ok(Answer::json(201, &json!({ "message": posted.id })))
//! }
//!
//! fn show(call: &Call) -> Result<Answer, Problem> {
//!     let message = messages::get(call.caller()?, call.id("note_id")?)?;
//!     Ok(Answer::json(200, &json!({ "text": message.content })))
//! }
//!
//! impl Http for Notes {
//!     fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
//!         Routes::new(&request, caller)
//!             .post("/api/plugins/notes", add)
//!             .get("/api/plugins/notes/{note_id}", show)
//!             .send(response)
//!     }
//! }
//!
//! patchbay_sdk::register!(Notes: http);
//! ```
//!
//! Owns: finding the function, and sending what it says. Must not: match paths; the host has done that.

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{
    Actor, Error, Request, Response,
    answer::{Answer, Problem},
    input::{self, Page},
};

/// A request under way.
pub struct Call<'a> {
    request: &'a Request,
    caller: Option<&'a Actor>,
}

impl<'a> Call<'a> {
    /// The request.
    pub fn request(&self) -> &'a Request {
        self.request
    }

    /// Who calls.
    ///
    /// # Errors
    /// 401 if nobody is known to; that can be on routes whose `auth` is not `required`.
    pub fn caller(&self) -> Result<&'a Actor, Problem> {
        self.caller.ok_or_else(|| Problem::new(401, "unauthenticated", "This needs a caller."))
    }

    /// A parameter of the route's template; empty if the template has none of that name.
    pub fn param(&self, name: &str) -> &'a str {
        input::param(self.request, name).unwrap_or_default()
    }

    /// A parameter of the route's template that is an id.
    ///
    /// # Errors
    /// 422 if it is no positive integer.
    pub fn id(&self, name: &str) -> Result<u64, Problem> {
        input::id_param(self.request, name)
    }

    /// The first query parameter of that name.
    pub fn query(&self, name: &str) -> Option<&'a str> {
        input::query(self.request, name)
    }

    /// The page that the query asks for: `?limit=` (1 to 200, default 50) and `?after=`.
    ///
    /// # Errors
    /// 422 if one of them is out of range.
    pub fn page(&self) -> Result<Page, Problem> {
        input::page(self.request)
    }

    /// The body. Types whose unknown fields are to be refused say so: `#[serde(deny_unknown_fields)]`.
    ///
    /// # Errors
    /// 415 if it is not declared as JSON, 400 if it is none, 422 if it is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        input::check_json_type(self.request)?;
        let body = &self.request.body;
        serde_json::from_slice(body).map_err(|error| match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => Problem::field("body", "invalid", format!("can't be read: {error}")),
            Err(error) => Problem::new(400, "malformed_json", format!("The body is no JSON: {error}.")),
        })
    }
}

/// Functions for the routes of the manifest, of which the one that fits is called, once.
pub struct Routes<'a> {
    call: Call<'a>,
    answer: Option<Result<Answer, Problem>>,
}

impl<'a> Routes<'a> {
    /// For this request.
    pub fn new(request: &'a Request, caller: Option<&'a Actor>) -> Self {
        Self { call: Call { request, caller }, answer: None }
    }

    /// Lets `function` answer requests of this method to this template, spelled as in the manifest.
    #[must_use]
    pub fn on(
        mut self,
        method: &str,
        template: &str,
        function: impl FnOnce(&Call<'a>) -> Result<Answer, Problem>,
    ) -> Self {
        let request = self.call.request;
        if self.answer.is_none() && request.method == method && request.route == template {
            self.answer = Some(function(&self.call));
        }
        self
    }

    /// [`Routes::on`] GET.
    #[must_use]
    pub fn get(self, template: &str, function: impl FnOnce(&Call<'a>) -> Result<Answer, Problem>) -> Self {
        self.on("GET", template, function)
    }

    /// [`Routes::on`] POST.
    #[must_use]
    pub fn post(self, template: &str, function: impl FnOnce(&Call<'a>) -> Result<Answer, Problem>) -> Self {
        self.on("POST", template, function)
    }

    /// [`Routes::on`] PUT.
    #[must_use]
    pub fn put(self, template: &str, function: impl FnOnce(&Call<'a>) -> Result<Answer, Problem>) -> Self {
        self.on("PUT", template, function)
    }

    /// [`Routes::on`] PATCH.
    #[must_use]
    pub fn patch(self, template: &str, function: impl FnOnce(&Call<'a>) -> Result<Answer, Problem>) -> Self {
        self.on("PATCH", template, function)
    }

    /// [`Routes::on`] DELETE.
    #[must_use]
    pub fn delete(self, template: &str, function: impl FnOnce(&Call<'a>) -> Result<Answer, Problem>) -> Self {
        self.on("DELETE", template, function)
    }

    /// The answer; none if no function fits.
    pub fn answer(self) -> Option<Answer> {
        self.answer.map(|answer| answer.unwrap_or_else(Answer::from))
    }

    /// Sends the answer.
    ///
    /// # Errors
    /// If no function fits, which is the plugin's own mistake: the manifest has a route that it does not. If the answer is
    /// larger than the host allows.
    pub fn send(self, response: &Response) -> Result<(), Error> {
        let (method, route) = (&self.call.request.method, &self.call.request.route);
        let forgotten = || {
            Error::internal(format!(
                "nothing answers {method} {route}; add it to the plugin's Routes, spelled as in plugin.toml"
            ))
        };
        let missing = forgotten();
        self.answer().ok_or(missing)?.send(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, body: &str) -> Request {
        Request {
            method: method.to_owned(),
            path: "/api/plugins/a/7".to_owned(),
            route: "/api/plugins/a/{id}".to_owned(),
            params: vec![("id".to_owned(), "7".to_owned())],
            query: Vec::new(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.as_bytes().to_vec(),
        }
    }

    fn number(call: &Call) -> Result<Answer, Problem> {
        let body: Option<u64> = call.json()?;
        Ok(Answer::json(200, &serde_json::json!([call.id("id")?, body])))
    }

    fn status_of(request: &Request) -> Option<u16> {
        let routes = Routes::new(request, None)
            .get("/api/plugins/a", |_| Ok(Answer::no_content()))
            .post("/api/plugins/a/{id}", number)
            .delete("/api/plugins/a/{id}", |call| call.caller().map(|_| Answer::no_content()));
        routes.answer().map(|answer| answer.status())
    }

    #[test]
    fn the_function_of_method_and_template_answers() {
        assert_eq!(status_of(&request("POST", "1")), Some(200));
        assert_eq!(status_of(&request("GET", "")), None, "another template");
        assert_eq!(status_of(&request("DELETE", "")), Some(401), "no caller");
    }

    #[test]
    fn what_is_no_json_and_what_is_another_differ() {
        assert_eq!(status_of(&request("POST", "{")), Some(400));
        assert_eq!(status_of(&request("POST", "\"a\"")), Some(422));
        let mut untyped = request("POST", "1");
        untyped.headers.clear();
        assert_eq!(status_of(&untyped), Some(415));
    }
}
