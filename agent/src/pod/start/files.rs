//! The files of a pod: its volumes, and what every container finds in `/etc`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{Start, Started, tokens};
use crate::context::Tone;
use crate::labels::SANDBOX;
use crate::pod::Failure;
use crate::runtime::{Mount, MountSource, Propagation};
use crate::spec::hostname::hostname;
use crate::volumes::{self, Prepared};

impl Start {
    /// What the files of the pod's volumes are made of, as it was not longer ago than `age`, in one number: the files need
    /// not be looked at as long as it is the same.
    pub async fn print_of_files(&self, age: Duration) -> Option<u64> {
        let mut print = DefaultHasher::new();
        let lookup = self.ctx.named(&self.pod, age).await.ok()?;
        for (name, map) in &lookup.config_maps {
            (name, &map.metadata.uid, &map.metadata.resource_version).hash(&mut print);
        }
        for (name, secret) in &lookup.secrets {
            (name, &secret.metadata.uid, &secret.metadata.resource_version).hash(&mut print);
        }
        for (request, token) in tokens::of(&self.ctx, &self.pod).await.ok()? {
            (request.audience, request.seconds, token).hash(&mut print);
        }
        // What a pod may read of itself can change while it runs.
        let spec = self.pod.spec.as_ref().and_then(|spec| serde_json::to_string(spec).ok());
        (&self.pod.metadata.labels, &self.pod.metadata.annotations, spec).hash(&mut print);
        Some(print.finish())
    }

    /// Makes the pod's volumes, or brings them up to date, with objects as they were not longer ago than `age`. Answers
    /// them by name.
    pub async fn mount_volumes(
        &self,
        address: Option<Ipv4Addr>,
        age: Duration,
    ) -> Result<BTreeMap<String, Prepared>, Failure> {
        let ctx = &self.ctx;
        if self.pod.spec.as_ref().is_none_or(|spec| spec.volumes.as_ref().is_none_or(Vec::is_empty)) {
            return Ok(BTreeMap::new());
        }
        let lookup = ctx.named(&self.pod, age).await.map_err(|error| self.failure("", error))?;
        let tokens = tokens::of(ctx, &self.pod).await;
        let no_token = tokens.as_ref().err().cloned();
        let facts = ctx.facts(address, self.accepted);
        let labels = self.labels(&self.identity(SANDBOX, 0, 0));
        let (places, pod, now) = (ctx.places.clone(), self.pod.clone(), ctx.clock.now());
        let tokens = tokens.unwrap_or_default();
        let prepare = move || volumes::prepare(&places, &pod, &labels, &lookup, &facts, &tokens, now);
        // Files are written on a thread of their own: a slow disk must not hold up the other pods.
        let prepared = tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|error| self.failure("", error.to_string()))?;
        prepared.map_err(|mut error| {
            if let Some(why) = no_token.filter(|_| error.reason == "failed to fetch token") {
                error.reason = why;
            }
            ctx.tell(&self.pod, None, Tone::Warning, "FailedMount", error.to_string());
            self.failure("", error.to_string())
        })
    }

    /// `/etc/hosts`, `/etc/resolv.conf` and the termination message, unless the pod mounts something there itself.
    pub(super) fn own_files(
        &self,
        spec: &PodSpec,
        container: &Container,
        attempt: u32,
        sandbox: &Started,
        mounted: &[Mount],
    ) -> std::io::Result<Vec<Mount>> {
        let folder = self.ctx.places.pod(self.uid());
        std::fs::create_dir_all(&folder)?;
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let address = sandbox.address.to_string();
        let hosts = volumes::hosts_file(spec, &hostname(&self.pod), &address, &read("/etc/hosts"));
        // Docker's own resolver answers on every network that a person makes.
        let resolv = volumes::resolv_conf(spec, namespace, "127.0.0.11", &read("/etc/resolv.conf"));
        let message =
            container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into());
        let message_file = message_file(&folder, &container.name, attempt);
        let files = [
            (folder.join("etc-hosts"), hosts, "/etc/hosts".to_owned(), 0o644),
            (folder.join("resolv.conf"), resolv, "/etc/resolv.conf".to_owned(), 0o644),
            (message_file, String::new(), message, 0o666),
        ];
        let mut mounts = Vec::new();
        for (file, text, target, mode) in files {
            if target.is_empty() || mounted.iter().any(|mount| mount.target == target) {
                continue;
            }
            // The hosts file is made anew for each container; what else a container has changed stays.
            if target == "/etc/hosts" || !file.exists() {
                if let Some(parent) = file.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::fs::write(&file, text)?;
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
            }
            let source = MountSource::Path(file);
            mounts.push(Mount { source, target, read_only: false, propagation: Propagation::Private });
        }
        Ok(mounts)
    }
}

/// Where a container's last words are written.
pub fn message_file(folder: &Path, container: &str, attempt: u32) -> PathBuf {
    folder.join("containers").join(container).join(attempt.to_string())
}
