//! `server.*`

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;

use super::{declare, value::Value};

declare! {
    /// Where the server listens and keeps its data, and what stands before it.
    "server" => Server {
        /// Address and port to listen on; port 0 takes a free one.
        listen: SocketAddr = "127.0.0.1:8080",
        /// Directory for the database, files and caches; created if it isn't there.
        data_dir: PathBuf = "patchbay-data",
        /// The URL by which clients reach the server; https makes browsers insist on it (HSTS).
        public_url: Option<PublicUrl> = "",
        /// Proxies whose X-Forwarded-For and X-Request-Id are believed.
        trusted_proxies: Networks = "",
    }
}

impl Server {
    /// Where clients reach the server: what the operator says, or else where it listens.
    pub fn url(&self) -> String {
        match &self.public_url {
            Some(url) => url.0.clone(),
            None if self.listen.ip().is_unspecified() => format!("http://localhost:{}", self.listen.port()),
            None => format!("http://{}", self.listen),
        }
    }
}

/// `http://…` or `https://…`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(pub String);

impl PublicUrl {
    /// Whether clients come by TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

impl Value for PublicUrl {
    const ALLOWED: &'static str = "http://HOST[:PORT] or https://HOST[:PORT]";
    fn parse(text: &str) -> Result<Self, String> {
        let url = text.parse::<http::Uri>().ok().filter(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && url.query().is_none()
        });
        match url {
            Some(_) => Ok(Self(text.trim_end_matches('/').to_owned())),
            None => Err(format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self(String::new())
    }
}

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether an address, in its canonical form, is among them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }
}

impl Value for Networks {
    const ALLOWED: &'static str = "a list of addresses and networks, e.g. 10.0.0.7, 10.1.0.0/16, fd00::/8; comma separated outside the file";
    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .map(|item| {
                item.parse::<IpNet>()
                    .or_else(|_| item.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical())))
                    .map_err(|_| format!("{item:?} is not allowed; expected {}", Self::ALLOWED))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
    fn placeholder() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let networks = Networks::parse("10.0.0.7, 10.1.0.0/16,fd00::/8").unwrap();
        for (address, expected) in [
            ("10.0.0.7", true),
            ("10.0.0.8", false),
            ("10.1.255.1", true),
            ("fd12::1", true),
            ("::1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert_eq!(Networks::parse(""), Ok(Networks::default()));
        for text in ["proxy", "10.0.0.0/33", "10.0.0.0-10.0.0.9"] {
            assert!(Networks::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn public_urls() {
        assert!(PublicUrl::parse("https://chat.example.org/").unwrap().is_https());
        assert!(!PublicUrl::parse("http://[::1]:8080").unwrap().is_https());
        for text in ["chat.example.org", "ftp://a", "https://u:p@a", "https://a?b", "/x", "https://"] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }
}
