//! What the world does for a plugin: the runtime's traits, one after the other. To add a capability, implement its trait
//! in the file where it belongs, each function as one [`World::call`], which writes down that it was called.
//!
//! bots.rs: bots, keys; chat.rs: what people have; own.rs: what is the plugin's own; outside.rs: files and other servers;
//! search.rs: looking for something.
//!
//! Owns: the traits. Must not: have rules of its own; they are the world's.

mod bots;
mod chat;
mod outside;
mod own;
mod search;

use patchbay_core::Actor;
use serde_json::{Value, json};

pub(crate) use own::shown;

use crate::world::World;

/// How an actor is written down: the name of the user, or null for the deployment itself.
fn name_of(world: &World, actor: &Actor) -> Value {
    let state = world.state();
    let user = actor.user_id().and_then(|id| state.users.get(&id));
    json!(user.map(|user| &user.username))
}
