//! Components that the tests load: tiny ones and hostile ones, each an example of this package with its
//! manifest beside it. `cargo xtask plugins` builds them into `target/test-guests`.
//!
//! Owns: nothing itself. Must not: hold code that a guest needs; a guest is one file.
