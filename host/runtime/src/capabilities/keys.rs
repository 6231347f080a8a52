//! `keys`: secrets that a plugin can derive again.

use async_trait::async_trait;
use wasmtime::component::Linker;

use crate::{
    HostError, HostErrorKind,
    bindings::wit::{keys as wit, types},
    state::{CallState, Own, own},
};

/// Longest label, in bytes.
const MAX_LABEL_BYTES: usize = 512;

/// What the embedder does for plugins that need secrets.
#[async_trait]
pub trait Keys {
    /// 32 bytes that are the same whenever this plugin asks for this label, and that nobody else can know.
    async fn derive(&self, plugin: &str, label: &str) -> Result<Vec<u8>, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn check_label(label: &str) -> Result<(), HostError> {
    if label.len() <= MAX_LABEL_BYTES {
        Ok(())
    } else {
        Err(HostError::new(HostErrorKind::Invalid, format!("a label has at most {MAX_LABEL_BYTES} bytes")))
    }
}

impl wit::Host for CallState {
    async fn derive(&mut self, label: String) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        self.charge_call(label.len())?;
        if let Err(error) = check_label(&label) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        Ok(self.wait(Keys::derive(&*host, &plugin, &label)).await.map_err(types::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        assert!(check_label(&"x".repeat(MAX_LABEL_BYTES)).is_ok());
        assert!(check_label(&"x".repeat(MAX_LABEL_BYTES + 1)).is_err());
    }
}
