//! Making a pod's sandbox and its containers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use tokio_util::sync::CancellationToken;

use super::{Failure, containers, hooks};
use crate::context::{Context, Tone};
use crate::env::{self, expand};
use crate::labels::{ADDRESS, Identity, SANDBOX};
use crate::runtime::{ContainerSpec, HostPort, Mount, MountSource, NetworkMode, Propagation, Share};
use crate::volumes::{self, Prepared};
use crate::{images, resources, security};

/// How long a start that failed for want of something waits for the next try. Upstream: its sync period.
const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// What a sandbox came to.
#[derive(Clone, Debug)]
pub struct Started {
    /// The runtime's id.
    pub id: String,
    /// The pod's address.
    pub address: Ipv4Addr,
}

/// The facts that every start needs.
#[derive(Clone)]
pub struct Start {
    /// What the node's pods share.
    pub ctx: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// When the node accepted it.
    pub accepted: Timestamp,
    /// The container whose processes an ephemeral one is to see, by id.
    pub target: Option<String>,
    /// Set when nobody wants it any more.
    pub cancel: CancellationToken,
}

impl Start {
    fn spec(&self) -> PodSpec {
        self.pod.spec.clone().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    fn identity(&self, container: &str, attempt: u32, backoff: u64) -> Identity {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Identity {
            namespace: text(&self.pod.metadata.namespace),
            pod: text(&self.pod.metadata.name),
            uid: self.uid().into(),
            container: container.into(),
            attempt,
            backoff,
        }
    }

    fn failure(&self, reason: &str, message: impl Into<String>) -> Failure {
        let until = self.ctx.clock.now().checked_add(RETRY).unwrap_or(Timestamp::MAX);
        Failure { reason: reason.into(), message: message.into(), until }
    }

    fn labels(&self, identity: &Identity) -> BTreeMap<String, String> {
        identity.labels(&self.ctx.config.cluster, &self.ctx.config.node)
    }

    /// Makes the pod's volumes, or brings them up to date. Answers them by name.
    pub async fn mount_volumes(
        &self,
        address: Option<Ipv4Addr>,
    ) -> Result<BTreeMap<String, Prepared>, Failure> {
        let ctx = &self.ctx;
        if self.pod.spec.as_ref().is_none_or(|spec| spec.volumes.as_ref().is_none_or(Vec::is_empty)) {
            return Ok(BTreeMap::new());
        }
        let lookup = ctx.look_up(&self.pod).await.map_err(|error| self.failure("", error))?;
        let tokens = ctx.tokens(&self.pod).await;
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

    /// Mounts the volumes, takes an address, starts the sandbox.
    pub async fn sandbox(&self, attempt: u32) -> Result<Started, Failure> {
        let spec = self.spec();
        let host_network = spec.host_network == Some(true);
        let address = if host_network { self.ctx.host() } else { self.address()? };
        let outcome = self.start_sandbox(&spec, attempt, host_network, address).await;
        if outcome.is_err() && !host_network {
            self.ctx.addresses.free(address);
        }
        outcome.map(|id| Started { id, address })
    }

    /// The address that the pod had, or a free one.
    fn address(&self) -> Result<Ipv4Addr, Failure> {
        let known = self.pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
        if let Some(known) = known.filter(|known| self.ctx.addresses.slice().contains(*known)) {
            self.ctx.addresses.adopt(known);
            return Ok(known);
        }
        self.ctx.addresses.take().ok_or_else(|| {
            let message = format!("no address is left in {}", self.ctx.addresses.slice());
            self.ctx.tell(&self.pod, None, Tone::Warning, "FailedCreatePodSandBox", message.clone());
            self.failure("", message)
        })
    }

    async fn start_sandbox(
        &self,
        spec: &PodSpec,
        attempt: u32,
        host_network: bool,
        address: Ipv4Addr,
    ) -> Result<String, Failure> {
        let volumes = self.mount_volumes(Some(address)).await?;
        let identity = self.identity(SANDBOX, attempt, 0);
        let mut labels = self.labels(&identity);
        labels.insert(ADDRESS.into(), address.to_string());
        let network = if host_network {
            NetworkMode::Host
        } else {
            NetworkMode::Bridge { network: self.ctx.network.name.clone(), address, ports: host_ports(spec) }
        };
        let share = |host: Option<bool>| if host == Some(true) { Share::Host } else { Share::Shareable };
        let made = ContainerSpec {
            name: identity.container_name(&self.ctx.config.cluster),
            labels,
            image: self.ctx.config.sandbox_image.clone(),
            hostname: hostname(&self.pod),
            mounts: volumes::held_by_sandbox(&volumes),
            network,
            ipc: share(spec.host_ipc),
            pid: if spec.host_pid == Some(true) { Share::Host } else { Share::Own },
            sysctls: security::sysctls(&self.pod),
            limits: crate::runtime::Limits { cpu_shares: 2, oom_score_adj: -998, ..Default::default() },
            ..Default::default()
        };
        let _turn = self.ctx.starts.acquire().await;
        let outcome = async {
            let id = self.ctx.runtime().create(&made).await?;
            match self.ctx.runtime().start(&id).await {
                Ok(()) => Ok(id),
                Err(error) => {
                    self.ctx.runtime().remove(&id).await?;
                    Err(error)
                }
            }
        };
        outcome.await.map_err(|error| {
            let message = format!("Failed to create pod sandbox: {error}");
            self.ctx.tell(&self.pod, None, Tone::Warning, "FailedCreatePodSandBox", message.clone());
            self.failure("", message)
        })
    }

    /// Makes a container, starts it, runs its postStart hook. Answers its id: it may have ended, or never have run.
    pub async fn container(
        &self,
        name: &str,
        attempt: u32,
        backoff: u64,
        sandbox: &Started,
    ) -> Result<String, Failure> {
        let spec = self.spec();
        let Some((container, _)) = super::find(&spec, name) else {
            return Err(self.failure("", format!("there is no container {name}")));
        };
        let container = &container;
        let tell =
            |tone, reason: &str, message: String| self.ctx.tell(&self.pod, Some(name), tone, reason, message);
        let image = images::ensure(&self.ctx, &self.pod, container, &self.cancel).await?;
        let described = self.describe(&spec, container, attempt, backoff, sandbox, &image.user).await;
        let mut described = described.map_err(|message| {
            tell(Tone::Warning, "Failed", format!("Error: {message}"));
            self.failure("CreateContainerConfigError", message)
        })?;
        described.image = container.image.clone().unwrap_or_default();
        let turn = self.ctx.starts.acquire().await;
        let id = self.ctx.runtime().create(&described).await.map_err(|error| {
            tell(Tone::Warning, "Failed", format!("Error: {error}"));
            self.failure("CreateContainerError", error.to_string())
        })?;
        tell(Tone::Normal, "Created", "Container created".into());
        if let Err(error) = self.ctx.runtime().start(&id).await {
            tell(Tone::Warning, "Failed", format!("Error: {error}"));
            return match self.ctx.runtime().inspect(&id).await {
                // The container shows why it could not run; that is its end.
                Ok(Some(found)) if found.state.is_exited() => Ok(id),
                _ => {
                    let _ = self.ctx.runtime().remove(&id).await;
                    Err(self.failure("RunContainerError", error.to_string()))
                }
            };
        }
        drop(turn);
        tell(Tone::Normal, "Started", "Container started".into());
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        if let Some(hook) = hook {
            let run = hooks::run(&self.ctx, container, &id, hook, sandbox.address);
            let outcome = tokio::select! {
                outcome = run => outcome,
                () = self.cancel.cancelled() => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::info!(
                    pod = super::full_name(&self.pod),
                    container = name,
                    error,
                    "postStart hook failed"
                );
                tell(Tone::Warning, "FailedPostStartHook", "PostStartHook failed".into());
                tell(Tone::Normal, "Killing", "FailedPostStartHook".into());
                let grace = u64::try_from(spec.termination_grace_period_seconds.unwrap_or(30)).unwrap_or(0);
                super::stop::signal_and_wait(&self.ctx, &id, grace).await;
            }
        }
        Ok(id)
    }

    /// Everything about the container that is to be made; or why it cannot be, in upstream's words.
    async fn describe(
        &self,
        spec: &PodSpec,
        container: &Container,
        attempt: u32,
        backoff: u64,
        sandbox: &Started,
        image_user: &str,
    ) -> Result<ContainerSpec, String> {
        let ctx = &self.ctx;
        let pod = &self.pod;
        let facts = ctx.facts(Some(sandbox.address), self.accepted);
        let lookup = ctx.look_up(pod).await?;
        let user = security::user(pod, container, image_user)?;
        let mut variables = env::variables(pod, container, &lookup, &facts)?;
        variables.entry("HOSTNAME".into()).or_insert_with(|| self.shown_hostname());
        let known = |name: &str| variables.get(name).cloned();
        let filled =
            |words: &Option<Vec<String>>| words.iter().flatten().map(|word| expand(word, known)).collect();
        let identity = self.identity(&container.name, attempt, backoff);
        let volumes = self.mount_volumes(Some(sandbox.address)).await.map_err(|failure| failure.message)?;
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let prepared =
                volumes.get(&mount.name).ok_or_else(|| format!("there is no volume {:?}", mount.name))?;
            let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
            let sub_path = match expression {
                "" => mount.sub_path.clone().unwrap_or_default(),
                expression => expand(expression, known),
            };
            mounts.push(volumes::mount(prepared, mount, &sub_path)?);
        }
        mounts.extend(
            self.own_files(spec, container, attempt, sandbox, &mounts).map_err(|error| error.to_string())?,
        );
        let join = || Share::Container(sandbox.id.clone());
        Ok(ContainerSpec {
            name: identity.container_name(&ctx.config.cluster),
            labels: self.labels(&identity),
            image: String::new(),
            entrypoint: filled(&container.command),
            args: filled(&container.args),
            env: variables.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            working_dir: container.working_dir.clone().unwrap_or_default(),
            user: user.user,
            groups: user.groups,
            hostname: String::new(),
            stdin: container.stdin == Some(true),
            stdin_once: container.stdin_once == Some(true),
            tty: container.tty == Some(true),
            mounts,
            network: NetworkMode::Container(sandbox.id.clone()),
            ipc: if spec.host_ipc == Some(true) { Share::Host } else { join() },
            pid: match (spec.host_pid, spec.share_process_namespace) {
                _ if self.target.is_some() => Share::Container(self.target.clone().unwrap_or_default()),
                (Some(true), _) => Share::Host,
                (_, Some(true)) => join(),
                _ => Share::Own,
            },
            limits: resources::limits(pod, container, ctx.config.size.memory),
            security: security::rights(pod, container, |path| self.seccomp_profile(path)),
            sysctls: BTreeMap::new(),
        })
    }

    fn seccomp_profile(&self, path: &str) -> Option<String> {
        let inside = !path.split('/').any(|part| part == "..");
        inside
            .then(|| std::fs::read_to_string(self.ctx.config.root.join("seccomp").join(path)).ok())
            .flatten()
    }

    /// What `hostname` answers in the pod.
    fn shown_hostname(&self) -> String {
        if self.spec().host_network == Some(true) {
            let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            return own.trim().to_owned();
        }
        hostname(&self.pod)
    }

    /// `/etc/hosts`, `/etc/resolv.conf` and the termination message, unless the pod mounts something there itself.
    fn own_files(
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
        let hosts = volumes::hosts_file(spec, namespace, &hostname(&self.pod), &address, &read("/etc/hosts"));
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
            // Written once: a container may have changed its hosts file since.
            if !file.exists() {
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

/// The host name of a pod: its own word, or its name as far as a host name may be long.
pub fn hostname(pod: &Pod) -> String {
    let own = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let name = own.unwrap_or_else(|| pod.metadata.name.clone().unwrap_or_default());
    let cut = name.get(..63).unwrap_or(&name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The ports of the machine that lead to a pod.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let ports = containers(spec).flat_map(|(container, _)| container.ports.iter().flatten());
    let wanted = ports.filter_map(|port| {
        Some(HostPort {
            container: u16::try_from(port.container_port).ok()?,
            host: u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?,
            address: port.host_ip.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()).to_lowercase(),
        })
    });
    wanted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn host_names_are_cut() {
        let pod = |spec: serde_json::Value, name: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
        };
        let long = format!("{}.bcdef-ghi", "a".repeat(60));
        let cases = [
            (pod(json!({"containers": []}), "x"), "x".to_owned()),
            (pod(json!({"containers": [], "hostname": "h"}), "x"), "h".to_owned()),
            (pod(json!({"containers": []}), &long), format!("{}.bc", "a".repeat(60))),
            (pod(json!({"containers": []}), &format!("{}-b", "a".repeat(62))), "a".repeat(62)),
        ];
        for (pod, expected) in cases {
            assert_eq!(hostname(&pod), expected);
        }
    }
}
