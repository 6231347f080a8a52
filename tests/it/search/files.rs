//! Files in search.
