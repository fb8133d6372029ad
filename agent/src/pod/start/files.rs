//! The files of a pod: its volumes, and what every container finds in `/etc`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use super::{Start, Started, tokens};
use crate::event_type::EventType;
use crate::labels::SANDBOX;
use crate::pod::Failure;
use crate::runtime::{Error, Mount, MountSource, PodFile, Propagation};
use crate::spec::hostname::hostname;
use crate::volumes::{self, Ingredients, NotMounted, Origin, Prepared, payload};

impl Start {
    /// One number for everything that the files of the pod's volumes are made of, read not longer ago than `age`. As long as it is
    /// the same, the files need not be compared.
    pub async fn fingerprint_of_files(&self, age: Duration) -> Option<u64> {
        let mut fingerprint = DefaultHasher::new();
        let lookup = self.ctx.named(&self.pod, age).await.ok()?;
        for (name, map) in &lookup.config_maps {
            (name, &map.metadata.uid, &map.metadata.resource_version).hash(&mut fingerprint);
        }
        for (name, secret) in &lookup.secrets {
            (name, &secret.metadata.uid, &secret.metadata.resource_version).hash(&mut fingerprint);
        }
        for (request, token) in tokens::of(&self.ctx, &self.pod).await.ok()? {
            (request.audience, request.seconds, token).hash(&mut fingerprint);
        }
        // What a pod may read of itself can change while it runs.
        let spec = self.pod.spec.as_ref().and_then(|spec| serde_json::to_string(spec).ok());
        (&self.pod.metadata.labels, &self.pod.metadata.annotations, spec).hash(&mut fingerprint);
        Some(fingerprint.finish())
    }

    /// Makes the pod's volumes, or brings them up to date, from objects that were read not longer ago than `age`. Answers them by
    /// name.
    pub async fn mount_volumes(
        &self,
        address: Option<Ipv4Addr>,
        age: Duration,
    ) -> Result<BTreeMap<String, Prepared>, Failure> {
        let ctx = &self.ctx;
        if self.pod.spec.as_ref().is_none_or(|spec| spec.volumes.as_ref().is_none_or(Vec::is_empty)) {
            return Ok(BTreeMap::new());
        }
        // A refresh and the start of a container may be at this at the same time.
        let turn = ctx.turns.fetch_add(1, Ordering::Relaxed);
        let lookup = ctx.named(&self.pod, age).await.map_err(|error| self.failure("", error))?;
        let tokens = tokens::of(ctx, &self.pod).await;
        let no_token = tokens.as_ref().err().cloned();
        let tokens = tokens.unwrap_or_default();
        let (facts, labels) = (ctx.facts(address, self.accepted), self.labels(&self.identity(SANDBOX, 0, 0)));
        let given = Ingredients {
            labels: &labels,
            lookup: &lookup,
            facts: &facts,
            tokens: &tokens,
            now: ctx.clock.now(),
            turn,
        };
        let mut prepared = BTreeMap::new();
        for volume in self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            match self.make_volume(volume, &given).await {
                Ok(made) => drop(prepared.insert(volume.name.clone(), made)),
                Err(reason) => {
                    let reason = no_token.filter(|_| reason == payload::NO_TOKEN).unwrap_or(reason);
                    let error = NotMounted { volume: volume.name.clone(), reason }.to_string();
                    ctx.emit(&self.pod, None, EventType::Warning, "FailedMount", error.clone());
                    return Err(self.failure("", error));
                }
            }
        }
        Ok(prepared)
    }

    async fn make_volume(&self, volume: &Volume, given: &Ingredients<'_>) -> Result<Prepared, String> {
        let source = match volumes::origin(&self.pod, volume, given)? {
            Origin::WithContainer(source) => source,
            Origin::Made(spec) => {
                let made = self.ctx.files.make_volume(self.uid(), spec).await;
                made.map_err(|error| error.to_string())?
            }
        };
        Ok(Prepared { source, read_only: volumes::is_read_only(volume) })
    }

    /// The mount of a prepared volume into a container. `sub_path` is the mount's own, with its variables filled in. Errors
    /// are in upstream's words.
    pub(super) async fn mount(
        &self,
        prepared: &Prepared,
        mount: &VolumeMount,
        container: &str,
        sub_path: &str,
    ) -> Result<Mount, String> {
        let mut made = volumes::mount(prepared, mount);
        if sub_path.is_empty() {
            return Ok(made);
        }
        volumes::check_sub_path(sub_path)?;
        let name = &mount.name;
        let MountSource::Path(base) = &made.source else {
            return Err(format!("volume {name:?} with a size limit in memory cannot have a subPath"));
        };
        let is_written = !prepared.read_only && volumes::is_written(&self.pod, name);
        let source = self.ctx.files.sub_path(self.uid(), base, sub_path, is_written).await;
        made.source = source.map_err(|error| {
            tracing::info!(volume = name, container, %error, "cannot prepare a subPath");
            let failed =
                format!("failed to prepare subPath for volumeMount {name:?} of container {container:?}");
            match error {
                Error::Unsafe(why) => format!("{failed}: {why}"),
                _ => failed,
            }
        })?;
        Ok(made)
    }

    /// `/etc/hosts`, `/etc/resolv.conf` and the file of the termination message, unless the pod mounts something there itself.
    pub(super) async fn own_files(
        &self,
        spec: &PodSpec,
        container: &Container,
        attempt: u32,
        sandbox: &Started,
        mounted: &[Mount],
    ) -> Result<Vec<Mount>, Error> {
        let files = &self.ctx.files;
        let machine = files.of_machine().await;
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let address = sandbox.address.to_string();
        let hosts = volumes::hosts_file(spec, &hostname(&self.pod), &address, &machine.hosts);
        // Docker's own resolver answers on every network that a person makes.
        let resolv = volumes::resolv_conf(spec, namespace, "127.0.0.11", &machine.resolv_conf);
        let message =
            container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into());
        let file = |path: &str, text: String, mode: u32| PodFile {
            path: path.into(),
            text,
            mode,
            // The hosts file is made anew for each container; what else a container has changed stays.
            replace: path == "etc-hosts",
        };
        let wanted = [
            ("/etc/hosts".to_owned(), file("etc-hosts", hosts, 0o644)),
            ("/etc/resolv.conf".to_owned(), file("resolv.conf", resolv, 0o644)),
            (message, file(&message_file(&container.name, attempt), String::new(), 0o666)),
        ];
        let wanted = wanted
            .into_iter()
            .filter(|(target, _)| !target.is_empty() && mounted.iter().all(|mount| mount.target != *target));
        let (targets, wanted): (Vec<String>, Vec<PodFile>) = wanted.unzip();
        let made = files.make_files(self.uid(), wanted).await?;
        let mounts = made.into_iter().zip(targets).map(|(path, target)| {
            let source = MountSource::Path(path);
            Mount { source, target, read_only: false, propagation: Propagation::Private }
        });
        Ok(mounts.collect())
    }
}

/// Where a container's termination message is written, below its pod's folder.
pub fn message_file(container: &str, attempt: u32) -> String {
    format!("containers/{container}/{attempt}")
}
