//! `files`: files, read and written with the actor's permissions.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use patchbay_core::{Actor, File, FileId, MessageId};
use wasmtime::component::{Linker, Resource};

use crate::{
    HostError, HostErrorKind,
    bindings::wit::{files as wit, types},
    state::{CallState, Own, id_in, id_out, own},
};

/// Most bytes of one reading, and of a file that a plugin makes.
const MAX_BYTES: usize = 1 << 20;
/// Most bytes of a name and of a media type: more than the embedder keeps.
const MAX_NAME_BYTES: usize = 4 << 10;

/// What the embedder does for plugins with files, with the permissions of `actor`.
#[async_trait]
pub trait Files {
    /// One file.
    async fn get(&self, actor: &Actor, id: FileId) -> Result<File, HostError>;
    /// The files of a message.
    async fn of_message(&self, actor: &Actor, message: MessageId) -> Result<Vec<File>, HostError>;
    /// The bytes of a range of at most 1 MiB; fewer at the end of the file, none beyond it.
    async fn read(&self, actor: &Actor, id: FileId, range: Range<u64>) -> Result<Vec<u8>, HostError>;
    /// Keeps a file of at most 1 MiB.
    async fn create(
        &self,
        actor: &Actor,
        filename: &str,
        file_type: &str,
        content: Bytes,
    ) -> Result<File, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn check_range(offset: u64, length: u32) -> Result<Range<u64>, HostError> {
    if length == 0 || length as usize > MAX_BYTES {
        let detail = format!("length must be 1 to {MAX_BYTES}");
        return Err(HostError::new(HostErrorKind::Invalid, detail));
    }
    Ok(offset..offset.saturating_add(u64::from(length)))
}

fn check_new(filename: &str, file_type: &str, content: &[u8]) -> Result<(), HostError> {
    if filename.len() > MAX_NAME_BYTES || file_type.len() > MAX_NAME_BYTES {
        return Err(HostError::new(HostErrorKind::Invalid, "the name or the type is too long"));
    }
    if content.len() > MAX_BYTES {
        let detail = format!("a plugin's file has at most {MAX_BYTES} bytes");
        return Err(HostError::new(HostErrorKind::LimitExceeded, detail));
    }
    Ok(())
}

impl CallState {
    /// A file on its way to the guest, counted.
    fn file_out(
        &mut self,
        file: Result<File, HostError>,
    ) -> wasmtime::Result<Result<wit::File, types::Error>> {
        self.charge_bytes(file.iter().map(size).sum())?;
        Ok(file.map(Into::into).map_err(types::Error::from))
    }
}

impl wit::Host for CallState {
    async fn get(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
    ) -> wasmtime::Result<Result<wit::File, types::Error>> {
        self.charge_call(0)?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let file = self.wait(Files::get(&*host, &actor, FileId(id_in(id)))).await;
        self.file_out(file)
    }

    async fn of_message(
        &mut self,
        actor: Resource<Actor>,
        message: u64,
    ) -> wasmtime::Result<Result<Vec<wit::File>, types::Error>> {
        self.charge_call(0)?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let found = self.wait(Files::of_message(&*host, &actor, MessageId(id_in(message)))).await;
        self.charge_bytes(found.iter().flatten().map(size).sum())?;
        Ok(found.map(|files| files.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }

    async fn read(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        self.charge_call(0)?;
        let range = match check_range(offset, length) {
            Ok(range) => range,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let bytes = self.wait(Files::read(&*host, &actor, FileId(id_in(id)), range)).await;
        self.charge_bytes(bytes.iter().map(Vec::len).sum())?;
        Ok(bytes.map_err(types::Error::from))
    }

    async fn create(
        &mut self,
        actor: Resource<Actor>,
        filename: String,
        file_type: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<wit::File, types::Error>> {
        self.charge_call(filename.len() + file_type.len() + content.len())?;
        if let Err(error) = check_new(&filename, &file_type, &content) {
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let file = self.wait(Files::create(&*host, &actor, &filename, &file_type, content.into())).await;
        self.file_out(file)
    }
}

fn size(file: &File) -> usize {
    size_of::<wit::File>() + file.filename.len() + file.file_type.len()
}

impl From<File> for wit::File {
    fn from(file: File) -> Self {
        Self {
            id: id_out(file.id.0),
            filename: file.filename,
            file_type: file.file_type,
            size: id_out(file.file_size),
            uploaded_by: id_out(file.uploaded_by_id.0),
            message: file.message_id.map(|id| id_out(id.0)),
            created_at: id_out(file.created_at.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_made_is_bounded() {
        assert_eq!(check_range(5, 10).unwrap(), 5..15);
        assert_eq!(check_range(u64::MAX, 1).unwrap(), u64::MAX..u64::MAX);
        assert!(check_range(0, 0).is_err() && check_range(0, (1 << 20) + 1).is_err());
        assert!(check_new("a", "b", &vec![0; MAX_BYTES]).is_ok());
        let large = check_new("a", "b", &vec![0; MAX_BYTES + 1]).unwrap_err();
        assert_eq!(large.kind, HostErrorKind::LimitExceeded);
        assert!(check_new(&"a".repeat(MAX_NAME_BYTES + 1), "b", &[]).is_err());
    }
}
