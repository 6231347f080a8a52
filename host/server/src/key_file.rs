//! Where the master key is kept: in the settings, in a file of the operator's, or in `secret.key` in the data
//! directory, which the server makes.
//!
//! Owns: that file, and the one beside it during a change of the key. Must not: seal or open anything.

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::{auth::seal::MasterKey, config::Config};

/// Why the master key can't be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system says no.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold a master key (32 bytes in base64)", .0.display())]
    NotAKey(PathBuf),
}

/// Where the master key is kept.
#[derive(Clone, Debug)]
pub enum KeyPlace {
    /// The setting itself.
    Setting(MasterKey),
    /// A file that the settings name; the server only reads it.
    Named(PathBuf),
    /// The server's own file.
    Own(PathBuf),
}

impl std::fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Setting(_) => f.write_str("auth.master_key"),
            Self::Named(path) | Self::Own(path) => path.display().fmt(f),
        }
    }
}

impl KeyPlace {
    /// Where the settings say that it is.
    pub fn of(config: &Config) -> Self {
        match (&config.auth.master_key.0, &config.auth.master_key_file) {
            (Some(key), _) => Self::Setting(key.clone()),
            (None, Some(path)) => Self::Named(path.clone()),
            (None, None) => Self::Own(config.server.data_dir.join("secret.key")),
        }
    }

    /// The key; none if the server's own file isn't there.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(&self) -> Result<Option<MasterKey>, KeyFileError> {
        match self {
            Self::Setting(key) => Ok(Some(key.clone())),
            Self::Named(path) => match read(path)? {
                Some(key) => Ok(Some(key)),
                None => Err(io(path, ErrorKind::NotFound.into())),
            },
            Self::Own(path) => read(path),
        }
    }

    /// The key that was to replace this one when the server stopped in between; only beside the server's own. One
    /// that is not whole was not in use yet.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read_next(&self) -> Result<Option<MasterKey>, KeyFileError> {
        match self {
            Self::Own(path) => match read(&next(path)) {
                Err(KeyFileError::NotAKey(_)) => Ok(None),
                other => other,
            },
            Self::Setting(_) | Self::Named(_) => Ok(None),
        }
    }

    /// Writes a key beside the server's own, for its owner's eyes only and safe from a loss of power. Elsewhere
    /// it does nothing: the key is the operator's to keep.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn write_next(&self, key: &MasterKey) -> Result<(), KeyFileError> {
        let Self::Own(path) = self else { return Ok(()) };
        let path = next(path);
        self.discard_next()?;
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&path)?;
            writeln!(file, "{}", key.to_text())?;
            file.sync_all()?;
            sync_directory(&path)
        };
        write().map_err(|error| io(&path, error))
    }

    /// Puts the key beside the server's own in its place.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn adopt_next(&self) -> Result<(), KeyFileError> {
        let Self::Own(path) = self else { return Ok(()) };
        let adopt = || {
            std::fs::rename(next(path), path)?;
            sync_directory(path)
        };
        adopt().map_err(|error| io(path, error))
    }

    /// Removes the key beside the server's own.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn discard_next(&self) -> Result<(), KeyFileError> {
        let Self::Own(path) = self else { return Ok(()) };
        let path = next(path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io(&path, error)),
            _ => Ok(()),
        }
    }
}

/// A name is safe once its directory is. Windows can't open one.
fn sync_directory(of: &Path) -> std::io::Result<()> {
    if cfg!(unix) { std::fs::File::open(of.parent().unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

fn next(path: &Path) -> PathBuf {
    path.with_extension("key.new")
}

fn io(path: &Path, error: std::io::Error) -> KeyFileError {
    KeyFileError::Io { path: path.to_owned(), error }
}

fn read(path: &Path) -> Result<Option<MasterKey>, KeyFileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => MasterKey::parse(&text).map(Some).ok_or_else(|| KeyFileError::NotAKey(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(KeyFileError::NotAKey(path.to_owned())),
        Err(error) => Err(io(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_replaced_in_two_steps() {
        let dir = tempfile::tempdir().unwrap();
        let place = KeyPlace::Own(dir.path().join("secret.key"));
        assert_eq!(place.read().unwrap(), None);
        let (first, second) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        for key in [&first, &second] {
            place.write_next(key).unwrap();
            assert_eq!(place.read_next().unwrap().as_ref(), Some(key));
            place.adopt_next().unwrap();
            assert_eq!(place.read().unwrap().as_ref(), Some(key));
            assert_eq!(place.read_next().unwrap(), None);
        }
        place.discard_next().unwrap();
        #[cfg(unix)]
        {
            let metadata = std::fs::metadata(dir.path().join("secret.key")).unwrap();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        for wrong in [b"".as_slice(), b"short", b"\xff\xfe"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(matches!(KeyPlace::Own(path.clone()).read(), Err(KeyFileError::NotAKey(_))));
        }
        let missing = KeyPlace::Named(dir.path().join("nothing"));
        assert!(matches!(missing.read(), Err(KeyFileError::Io { .. })), "a named file has to be there");
    }
}
