//! `database.*`

use patchbay_store::Location;

use super::{declare, value::Value};

declare! {
    /// Which database.
    "database" => Database {
        /// The database; empty: `patchbay.db` in the data directory.
        url: Option<DatabaseUrl> = "",
    }
}

/// An SQLite file or a PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl(pub Location);

impl Value for DatabaseUrl {
    const ALLOWED: &'static str = "sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE";
    fn parse(text: &str) -> Result<Self, String> {
        // The text is not repeated: it may hold a password.
        let wrong = |why: &str| format!("{why}; expected {}", Self::ALLOWED);
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => {
                Ok(Self(Location::Sqlite(path.trim_start_matches("//").into())))
            }
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Location::postgres(text).map(Self).map_err(|error| wrong(&error.to_string()))
            }
            _ => Err(wrong("this URL is not allowed")),
        }
    }
    fn placeholder() -> Self {
        Self(Location::Sqlite("".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let sqlite = |path: &str| Ok(DatabaseUrl(Location::Sqlite(path.into())));
        assert_eq!(DatabaseUrl::parse("sqlite:a.db"), sqlite("a.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:///a.db"), sqlite("/a.db"));
        for text in ["postgres://u:secret@h:5432/d", "postgresql://h/d", "postgres:///d?host=/run/postgresql"]
        {
            assert_eq!(DatabaseUrl::parse(text), Ok(DatabaseUrl(Location::Postgres(text.into()))));
        }
        for text in
            ["sqlite:", "postgres:d", "mysql://u:secret@h/d", "u:secret@h", "postgres://u:secret@h:x/d"]
        {
            let error = DatabaseUrl::parse(text).unwrap_err();
            assert!(error.contains("expected sqlite:PATH") && !error.contains("secret"), "{error}");
        }
    }
}
