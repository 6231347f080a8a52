//! `files.*`

use std::{fmt, path::PathBuf};

use super::{
    declare,
    value::{Switch, Value},
};

declare! {
    /// Uploaded files.
    "files" => Files {
        /// Where files are kept; empty: `files` in the data directory.
        url: Option<FilesUrl> = "",
        /// Largest file, in bytes or with KiB, MiB, GiB.
        max_size: Size = "2GiB",
        /// What all files of one user may have together; 0 or empty: no limit.
        quota: Quota = "10GiB",
        /// S3: the server, if it isn't Amazon's; http or https. AWS_ENDPOINT_URL without it.
        endpoint: Option<Endpoint> = "",
        /// S3: the region. AWS_REGION without it, or us-east-1.
        region: Option<String> = "",
        /// S3: who asks. AWS_ACCESS_KEY_ID without it, or what the machine's role gives.
        access_key: Option<Secret> = "",
        /// S3: the secret that goes with it. AWS_SECRET_ACCESS_KEY without it.
        secret_key: Option<Secret> = "",
        /// S3: whether the bucket is in the path and not in the host's name; if off, the endpoint includes it.
        path_style: Switch = "on",
    }
}

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesUrl {
    /// `file:PATH`
    Directory(PathBuf),
    /// A bucket of somebody's cloud.
    Bucket {
        /// Whose.
        cloud: Cloud,
        /// Its name.
        bucket: String,
        /// What every key begins with; may be empty.
        prefix: String,
    },
}

/// Who speaks what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// `s3://`: Amazon S3 and what is like it.
    S3,
    /// `gs://`: Google Cloud Storage.
    Google,
    /// `az://`: Azure Blob Storage.
    Azure,
}

impl Value for FilesUrl {
    const ALLOWED: &'static str =
        "file:PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not allowed; expected {}", Self::ALLOWED);
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Directory(path.into())) };
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let cloud = match scheme {
            "s3" => Cloud::S3,
            "gs" => Cloud::Google,
            "az" => Cloud::Azure,
            _ => return Err(wrong()),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let named = |name: &str| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !name.starts_with('.')
        };
        let folders = prefix.is_empty() || prefix.split('/').all(|name| !name.is_empty() && named(name));
        if bucket.is_empty() || !named(bucket) || !folders {
            return Err(wrong());
        }
        Ok(Self::Bucket { cloud, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
    fn placeholder() -> Self {
        Self::Directory(PathBuf::new())
    }
}

/// `http://…` or `https://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl Value for Endpoint {
    const ALLOWED: &'static str = "http://HOST:PORT or https://HOST:PORT, without credentials";
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<http::Uri>() {
            Ok(uri)
                if matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                    && uri.query().is_none() =>
            {
                Ok(Self(text.trim_end_matches('/').to_owned()))
            }
            // The text is not repeated: it may hold a password.
            _ => Err(format!("this is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self(String::new())
    }
}

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Value for Secret {
    const ALLOWED: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
    fn placeholder() -> Self {
        Self(String::new())
    }
}

/// Bytes, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Value for Size {
    const ALLOWED: &'static str = "1 to 48GiB: a whole number, of bytes or with KiB, MiB or GiB";
    fn parse(text: &str) -> Result<Self, String> {
        // An S3 upload has 10,000 parts at most, of 5 MiB each.
        bytes(text)
            .filter(|bytes| (1..=48 << 30).contains(bytes))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not allowed; expected {}", Self::ALLOWED))
    }
    fn placeholder() -> Self {
        Self(1)
    }
}

/// Bytes, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(pub Option<u64>);

impl Value for Quota {
    const ALLOWED: &'static str = "0 or a whole number, of bytes or with KiB, MiB or GiB";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let limit = bytes(text).filter(|bytes| i64::try_from(*bytes).is_ok());
        let limit = limit.ok_or_else(|| format!("{text:?} is not allowed; expected {}", Self::ALLOWED))?;
        Ok(Self((limit > 0).then_some(limit)))
    }
    fn placeholder() -> Self {
        Self(None)
    }
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let bucket = |cloud, bucket: &str, prefix: &str| {
            Ok(FilesUrl::Bucket { cloud, bucket: bucket.into(), prefix: prefix.into() })
        };
        for (text, expected) in [
            ("file:a/b", Ok(FilesUrl::Directory("a/b".into()))),
            ("file:///a", Ok(FilesUrl::Directory("/a".into()))),
            ("s3://chat", bucket(Cloud::S3, "chat", "")),
            ("s3://chat/files/v1/", bucket(Cloud::S3, "chat", "files/v1")),
            ("gs://chat/", bucket(Cloud::Google, "chat", "")),
            ("az://chat", bucket(Cloud::Azure, "chat", "")),
        ] {
            assert_eq!(FilesUrl::parse(text), expected, "{text}");
        }
        for text in
            ["file:", "files", "s3:chat", "s3://", "s3:///x", "s3://a:b@chat", "s3://chat?x=1", "ftp://chat"]
        {
            assert!(FilesUrl::parse(text).is_err(), "{text}");
        }
        for text in ["s3://chat/../x", "s3://chat//x", "s3://chat/ü"] {
            assert!(FilesUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(Size::parse("1000"), Ok(Size(1000)));
        assert_eq!(Size::parse("3MiB"), Ok(Size(3 << 20)));
        for text in ["", "0", "1MB", "-1", "49GiB", "99999999999999999999", "20000000000GiB"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        assert_eq!((Quota::parse(""), Quota::parse("0")), (Ok(Quota(None)), Ok(Quota(None))));
        assert_eq!(Quota::parse("1KiB"), Ok(Quota(Some(1024))));
        assert!(Quota::parse("18446744073709551615").is_err());
    }

    #[test]
    fn endpoints() {
        assert_eq!(Endpoint::parse("http://127.0.0.1:9000/"), Ok(Endpoint("http://127.0.0.1:9000".into())));
        for text in ["127.0.0.1:9000", "ftp://x", "https://u:secret@x", "http://"] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
