//! What a plugin's operator set of its limits: JSON in the plugin's row. Names, defaults and bounds are the
//! runtime's table.
//!
//! Owns: that JSON. Must not: enforce limits.

use std::collections::BTreeMap;

use patchbay_runtime::{Limit, Limits, limits::TABLE};

use crate::ops::error::Faults;

/// New values by name; null takes the default again.
pub type LimitChanges = BTreeMap<String, Option<u64>>;

/// What applies to a plugin of whose limits these were set. What this version doesn't know has no effect: a
/// newer one may have written it.
pub fn limits_of(set: &str) -> Limits {
    let mut limits = Limits::default();
    for (name, value) in values(set) {
        if let Some(limit) = Limit::find(&name) {
            limit.put(&mut limits, value);
        }
    }
    limits
}

/// The same by name.
pub fn shown(set: &str) -> BTreeMap<&'static str, u64> {
    let limits = limits_of(set);
    TABLE.iter().map(|limit| (limit.name, limit.of(&limits))).collect()
}

/// What is set after these changes.
pub(super) fn changed(set: &str, changes: &LimitChanges) -> String {
    let mut values = values(set);
    for (name, value) in changes {
        match value {
            Some(value) => values.insert(name.clone(), *value),
            None => values.remove(name),
        };
    }
    // Texts and numbers always serialise.
    serde_json::to_string(&values).unwrap_or_default()
}

pub(super) fn check(changes: &LimitChanges, faults: &mut Faults) {
    for (name, value) in changes {
        let field = format!("limits.{name}");
        match Limit::find(name) {
            None => {
                let known: Vec<_> = TABLE.iter().map(|limit| limit.name).collect();
                faults.push(&field, "unknown", format!("is not one of {}", known.join(", ")));
            }
            Some(limit) if value.is_some_and(|value| !limit.allows(value)) => {
                faults.push(&field, "out_of_range", format!("must be {} to {}", limit.min, limit.max));
            }
            Some(_) => {}
        }
    }
}

fn values(set: &str) -> BTreeMap<String, u64> {
    serde_json::from_str(set).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_kept_within_bounds_and_the_rest_is_default() {
        let set = changed("{}", &[("http_cpu_ms".to_owned(), Some(7))].into());
        assert_eq!(set, r#"{"http_cpu_ms":7}"#);
        let limits = limits_of(&set);
        assert_eq!(limits.http.cpu.as_millis(), 7);
        assert_eq!(limits.memory_bytes, Limits::default().memory_bytes);
        assert_eq!(shown(&set).get("http_cpu_ms"), Some(&7));
        assert_eq!(changed(&set, &[("http_cpu_ms".to_owned(), None)].into()), "{}");
        let of_a_newer_version = r#"{"of_tomorrow":1,"handles":18446744073709551615}"#;
        assert_eq!(limits_of(of_a_newer_version).handles, 65_536, "cut to what this version allows");
    }
}
