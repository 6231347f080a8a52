//! From settings to a store, and the question whether it can be used.

use std::{error::Error as _, io, path::Path, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::MicrosoftAzureBuilder,
    client::HttpError,
    gcp::GoogleCloudStorageBuilder,
    local::LocalFileSystem,
    multipart::MultipartStore,
};

use super::{Files, Place};
use crate::config::{self, Cloud, FilesUrl, Switch};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the store may say nothing in the middle of a request; a download may take as long as its reader wants.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a request is tried again, and for how long, before a client is told to come back later.
const RETRIES: usize = 3;
const RETRY: Duration = Duration::from_secs(10);
/// What is written and removed to see whether a store can be used.
const PROBE: &str = "patchbay-probe";

/// Why a store can't be used with these settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(String);

impl Files {
    /// The store that the settings name. Goes nowhere yet, but for making the directory.
    ///
    /// # Errors
    /// If the settings can't be right.
    pub fn open(settings: &config::Files, data_dir: &Path) -> Result<Self, OpenError> {
        match &settings.url {
            None => Self::in_directory(&data_dir.join("files")),
            Some(FilesUrl::Directory(path)) => Self::in_directory(path),
            Some(FilesUrl::Bucket { .. }) => Self::in_bucket(settings),
        }
    }

    /// A store in a directory, which is made if it isn't there. What it says it has written is on the disk.
    fn in_directory(path: &Path) -> Result<Self, OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError(format!("{}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(|error| failed(&error))?;
        let root = path.canonicalize().map_err(|error| failed(&error))?;
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|error| failed(&error))?;
        let store = Arc::new(store.with_fsync(true));
        Ok(Self { store, place: Place::Directory(root), prefix: String::new() })
    }

    /// A store in the bucket that the settings name. With a directory there is nothing that could be wrong yet.
    ///
    /// # Errors
    /// If the settings can't be right.
    pub fn in_bucket(settings: &config::Files) -> Result<Self, OpenError> {
        let Some(FilesUrl::Bucket { cloud, bucket, prefix }) = &settings.url else {
            return Err(OpenError("files.url names no bucket".into()));
        };
        let failed = |error: object_store::Error| OpenError(format!("files.url: {error}"));
        Ok(match cloud {
            Cloud::S3 => Self::of(s3(settings, bucket).build().map_err(failed)?, prefix),
            Cloud::Google => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                let builder = builder.with_retry(retries()).with_client_options(client());
                Self::of(builder.build().map_err(failed)?, prefix)
            }
            Cloud::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
                let builder = builder.with_retry(retries()).with_client_options(client());
                Self::of(builder.build().map_err(failed)?, prefix)
            }
        })
    }

    fn of(store: impl ObjectStore + MultipartStore, prefix: &str) -> Self {
        let store = Arc::new(store);
        Self { store: store.clone(), place: Place::Bucket(store), prefix: prefix.to_owned() }
    }

    /// Whether the store takes and gives up bytes. A store that merely is away is only warned of: it may come back,
    /// and until then requests are told so.
    ///
    /// # Errors
    /// If the store is there and refuses: then the settings are wrong, and nothing would ever work.
    pub async fn check(&self) -> Result<(), OpenError> {
        let key = self.key(PROBE);
        let tried = async {
            self.store.put(&key, PutPayload::from_static(b"Patchbay can write here.")).await?;
            self.store.delete(&key).await
        };
        match tried.await {
            Ok(()) => Ok(()),
            Err(error) if is_refusal(&error) => {
                Err(OpenError(format!("{} can't be used: {error}", self.store)))
            }
            Err(error) => {
                tracing::warn!(%error, "the file store can't be used now; files are unavailable until it can");
                Ok(())
            }
        }
    }
}

/// Credentials and all else that the settings leave open come from the usual `AWS_*` variables.
fn s3(settings: &config::Files, bucket: &str) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries());
    if let Some(config::Endpoint(endpoint)) = &settings.endpoint {
        // The one of several settings of an endpoint that beats the others.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
    // Who writes http:// means it.
    let options = client().with_allow_http(endpoint.is_some_and(|url| url.starts_with("http://")));
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(config::Secret(key)) = &settings.access_key {
        builder = builder.with_access_key_id(key);
    }
    if let Some(config::Secret(key)) = &settings.secret_key {
        builder = builder.with_secret_access_key(key);
    }
    builder.with_virtual_hosted_style_request(settings.path_style == Switch::Off).with_client_options(options)
}

fn client() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT).with_timeout_disabled().with_read_timeout(SILENCE)
}

fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY }
}

/// Whether an error speaks of the settings and not of the moment, as would no connection, a server's own failure or
/// a full disk.
fn is_refusal(error: &object_store::Error) -> bool {
    use object_store::Error;
    if matches!(
        error,
        Error::NotFound { .. } | Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
    ) {
        return true;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::NotADirectory
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
            );
        }
        if error.is::<HttpError>() {
            return false;
        }
        cause = error.source();
    }
    // The type that holds the status of an answer is not public.
    let text = error.to_string();
    text.contains("non-2xx status code: 4") || text.contains("incorrectly configured region")
}
