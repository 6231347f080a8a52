//! What a component would cost the compiler, before the compiler is let near it.
//!
//! Owns: reading sizes of code, at any depth. Must not: validate; the compiler does.

use wasmparser::{Parser, Payload};

use crate::{LoadError, limits};

/// Refuses code that is beyond what compilers of real languages produce. Compiling takes time and memory that grow
/// faster than a function does, and a compiler that is at work can't be stopped.
///
/// # Errors
/// `malformed_component`, `resources_exceeded`.
pub(crate) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    let (mut functions, mut modules, mut components) = (0usize, 0usize, 0usize);
    let exceeded = |what: String| Err(LoadError::ResourcesExceeded(what));
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| LoadError::Malformed(error.to_string()))? {
            Payload::ModuleSection { .. } => modules = modules.saturating_add(1),
            Payload::ComponentSection { .. } => components = components.saturating_add(1),
            Payload::CodeSectionEntry(body) => {
                functions = functions.saturating_add(1);
                let range = body.range();
                let size = range.end.saturating_sub(range.start);
                if usize::try_from(size).unwrap_or(usize::MAX) > limits::FUNCTION_BYTES {
                    return exceeded(format!(
                        "one of its functions has {size} bytes; it may have {}",
                        limits::FUNCTION_BYTES
                    ));
                }
            }
            _ => {}
        }
        if functions > limits::FUNCTIONS {
            return exceeded(format!("it has more than {} functions", limits::FUNCTIONS));
        }
        if modules > limits::MODULES || components > limits::MODULES {
            return exceeded(format!("it has more than {} modules or components inside", limits::MODULES));
        }
    }
    Ok(())
}
