//! `scheduler`: jobs for later. Those of the manifest are the host's to plan; here are the plugin's own.

use async_trait::async_trait;
use patchbay_core::Timestamp;
use wasmtime::component::Linker;

use super::check_limit;
use crate::{
    HostError, HostErrorKind,
    bindings::wit::{scheduler as wit, types},
    manifest::RepeatedJob,
    state::{CallState, Own, id_in, id_out, own},
};

const MAX_ID_BYTES: usize = 128;
const MAX_PAYLOAD_BYTES: usize = 16 << 10;
const MAX_PAGE: u32 = 200;

/// A job that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledJob {
    /// 1 to 128 bytes, the plugin's choice; no name of a job of its manifest.
    pub id: String,
    /// Up to 16 KiB.
    pub payload: String,
    /// When it comes due.
    pub due: Timestamp,
    /// How many plugins stand between a person and what it will do.
    pub depth: u8,
}

/// The embedder's plan, one per plugin. Sizes have been checked against `wit/scheduler.wit`.
#[async_trait]
pub trait Scheduler {
    /// Plans a job, in place of one of the same id. `LimitExceeded` beyond 10,000.
    async fn schedule(&self, plugin: &str, job: ScheduledJob) -> Result<(), HostError>;
    /// Takes a job out; whether it was there.
    async fn cancel(&self, plugin: &str, id: &str) -> Result<bool, HostError>;
    /// Jobs that wait, with ids after `after`, by the bytes of their ids, at most `limit` (1 to 200).
    async fn list(
        &self,
        plugin: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn check_id(id: &str) -> Result<(), HostError> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains('\0') {
        Ok(())
    } else {
        let detail = format!("a job's id has 1 to {MAX_ID_BYTES} bytes");
        Err(HostError::new(HostErrorKind::Invalid, detail))
    }
}

fn check_job(job: &wit::Scheduled, of_manifest: &[RepeatedJob]) -> Result<(), HostError> {
    check_id(&job.id)?;
    if of_manifest.iter().any(|repeated| repeated.name == job.id) {
        let detail = "a job of the manifest has this name";
        return Err(HostError::new(HostErrorKind::Conflict, detail).with_code("job_of_manifest"));
    }
    if job.payload.contains('\0') {
        return Err(HostError::new(HostErrorKind::Invalid, "a job's payload has no zero byte"));
    }
    if job.payload.len() > MAX_PAYLOAD_BYTES {
        let detail = format!("a job's payload has at most {MAX_PAYLOAD_BYTES} bytes");
        return Err(HostError::new(HostErrorKind::LimitExceeded, detail));
    }
    Ok(())
}

impl wit::Host for CallState {
    async fn schedule(&mut self, job: wit::Scheduled) -> wasmtime::Result<Result<(), types::Error>> {
        self.charge_call(job.id.len() + job.payload.len())?;
        if let Err(error) = check_job(&job, &self.manifest.jobs) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let job = ScheduledJob {
            id: job.id,
            payload: job.payload,
            due: Timestamp(id_in(job.due)),
            depth: self.depth(),
        };
        let done = self.wait(Scheduler::schedule(&*host, &plugin, job)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn cancel(&mut self, id: String) -> wasmtime::Result<Result<bool, types::Error>> {
        self.charge_call(id.len())?;
        if let Err(error) = check_id(&id) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Scheduler::cancel(&*host, &plugin, &id)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn list(
        &mut self,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::Scheduled>, types::Error>> {
        self.charge_call(after.as_ref().map_or(0, String::len))?;
        let limit = match check_limit(limit, MAX_PAGE) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let found = self.wait(Scheduler::list(&*host, &plugin, after.as_deref(), limit)).await;
        self.charge_bytes(found.iter().flatten().map(|job| job.id.len() + job.payload.len()).sum())?;
        Ok(found.map(|jobs| jobs.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }
}

impl From<ScheduledJob> for wit::Scheduled {
    fn from(job: ScheduledJob) -> Self {
        Self { id: job.id, payload: job.payload, due: id_out(job.due.0) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn jobs_are_bounded_and_leave_the_manifests_alone() {
        let of_manifest = [RepeatedJob { name: "sweep".into(), every: Duration::from_secs(60) }];
        let check = |id: &str, bytes: usize| {
            let job = wit::Scheduled { id: id.to_owned(), payload: "x".repeat(bytes), due: 0 };
            check_job(&job, &of_manifest).map_err(|error| error.kind)
        };
        assert_eq!(check(&"i".repeat(MAX_ID_BYTES), MAX_PAYLOAD_BYTES), Ok(()));
        assert_eq!(check("", 0), Err(HostErrorKind::Invalid));
        assert_eq!(check(&"i".repeat(MAX_ID_BYTES + 1), 0), Err(HostErrorKind::Invalid));
        assert_eq!(check("i", MAX_PAYLOAD_BYTES + 1), Err(HostErrorKind::LimitExceeded));
        assert_eq!(check("sweep", 0), Err(HostErrorKind::Conflict));
    }
}
