//! What the world does for a plugin: the runtime's traits, one after the other. To add a capability, implement its trait
//! in the file where it belongs, each function as one [`World::call`], which writes down that it was called.
//!
//! bots.rs: bots, keys; chat.rs: what people have; llm.rs: models; own.rs: what is the plugin's own; outside.rs: files and other
//! servers; search.rs: looking for something; vectors.rs: vectors.
//!
//! Owns: the traits. Must not: have rules of its own; they are the world's.

mod bots;
mod chat;
mod llm;
mod outside;
mod own;
mod search;
mod vectors;

use patchbay_core::Actor;
use serde_json::{Value, json};

pub(crate) use own::shown;
pub(crate) use vectors::metadata_shown;

use crate::world::World;

/// How an actor is written down: the name of the user, or null for the deployment itself.
fn name_of(world: &World, actor: &Actor) -> Value {
    let state = world.state();
    let user = actor.user_id().and_then(|id| state.users.get(&id));
    json!(user.map(|user| &user.username))
}
