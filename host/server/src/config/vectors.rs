//! `vectors.*`

use super::{Secret, ai::BaseUrl, declare, value::Value};

declare! {
    /// Where plugins' vectors are kept.
    "vectors" => Vectors {
        /// Empty: in the database. postgres://…: in a PostgreSQL with pgvector. pinecone://INDEX_HOST: in an index of Pinecone.
        url: Option<VectorsUrl> = "",
        /// Pinecone's key.
        api_key: Option<Secret> = "",
        /// How much memory holds vectors that are kept in the database, so that they are found without reading them anew.
        memory: super::files::Size = "256MiB",
    }
}

/// A store of vectors outside.
#[derive(Clone, PartialEq, Eq)]
pub enum VectorsUrl {
    /// `postgres://…`, with pgvector.
    Postgres(String),
    /// The address of an index of Pinecone, without a slash at the end.
    Pinecone(String),
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for VectorsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Postgres(_) => "Postgres",
            Self::Pinecone(_) => "Pinecone",
        })
    }
}

impl Value for VectorsUrl {
    const ALLOWED: &'static str = "postgres://USER:PASSWORD@HOST:PORT/DATABASE or pinecone://INDEX_HOST";
    fn parse(text: &str) -> Result<Self, String> {
        // The text is not repeated: it may hold a password.
        let wrong = |why: &str| format!("{why}; expected {}", Self::ALLOWED);
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => patchbay_store::PgVectors::check(text)
                .map(|()| Self::Postgres(text.to_owned()))
                .map_err(|error| wrong(&error.to_string())),
            // An index on this machine, as tests and Pinecone's emulator have it, speaks without TLS.
            Some(("pinecone", host)) => {
                let name = host.split([':', '/']).next().unwrap_or_default();
                let scheme = if matches!(name, "localhost" | "127.0.0.1") { "http" } else { "https" };
                BaseUrl::parse(&format!("{scheme}://{host}"))
                    .map(|url| Self::Pinecone(url.0))
                    .map_err(|_| wrong("this host is not allowed"))
            }
            _ => Err(wrong("this URL is not allowed")),
        }
    }
    fn placeholder() -> Self {
        Self::Pinecone(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let pinecone = |text| match VectorsUrl::parse(text) {
            Ok(VectorsUrl::Pinecone(url)) => url,
            other => panic!("{other:?}"),
        };
        assert_eq!(pinecone("pinecone://a-1.svc.aped-1.pinecone.io"), "https://a-1.svc.aped-1.pinecone.io");
        assert_eq!(pinecone("pinecone://127.0.0.1:5081/"), "http://127.0.0.1:5081");
        assert!(matches!(VectorsUrl::parse("postgres://u:secret@h/d"), Ok(VectorsUrl::Postgres(_))));
        for text in ["pinecone://", "pinecone://u:secret@h", "qdrant://h", "postgres://u:secret@h:x/d"] {
            let error = VectorsUrl::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
