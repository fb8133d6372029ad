//! The descriptions from which the runtime makes a sandbox and a container.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{Start, Started};
use crate::env::{self, expand, expand_all};
use crate::labels::{ADDRESS, IMAGE, SANDBOX};
use crate::pod::Failure;
use crate::runtime::{ContainerSpec, HostPort, Limits, NetworkMode, Share};
use crate::spec::{containers, hostname};
use crate::{resources, security, volumes};

impl Start {
    /// Mounts the volumes and describes the sandbox that is to be made.
    pub(super) async fn describe_sandbox(
        &self,
        attempt: u32,
        address: Ipv4Addr,
    ) -> Result<ContainerSpec, Failure> {
        let spec = self.spec();
        let volumes = self.mount_volumes(Some(address), Duration::ZERO).await?;
        let identity = self.identity(SANDBOX, attempt, 0);
        let mut labels = self.labels(&identity);
        labels.insert(ADDRESS.into(), address.to_string());
        let network = match spec.host_network {
            Some(true) => NetworkMode::Host,
            _ => NetworkMode::Bridge {
                network: self.ctx.network.name.clone(),
                address,
                ports: host_ports(&spec),
            },
        };
        Ok(ContainerSpec {
            name: identity.container_name(&self.ctx.config.cluster),
            labels,
            image: self.ctx.config.sandbox_image.clone(),
            hostname: hostname::shown(&self.pod).map_err(|why| self.no_sandbox(&why))?,
            mounts: volumes::held_by_sandbox(&volumes),
            network,
            ..of_sandbox(&self.pod)
        })
    }

    /// Everything about the container that is to be made; or why it cannot be, in upstream's words.
    pub(super) async fn describe(
        &self,
        spec: &PodSpec,
        container: &Container,
        attempt: u32,
        backoff: u64,
        sandbox: &Started,
        image_user: &str,
    ) -> Result<ContainerSpec, String> {
        let ctx = &self.ctx;
        let facts = ctx.facts(Some(sandbox.address), self.accepted);
        let lookup = ctx.look_up(&self.pod).await?;
        let mut variables = env::variables(&self.pod, container, &lookup, &facts)?;
        if !variables.contains_key("HOSTNAME") {
            variables.insert("HOSTNAME".into(), self.shown_hostname(spec).await);
        }
        let identity = self.identity(&container.name, attempt, backoff);
        let profile = self.seccomp_profile(container).await;
        let described = of_container(&Inputs {
            pod: &self.pod,
            container,
            variables: &variables,
            image_user,
            sandbox: &sandbox.id,
            target: self.target.as_deref(),
            node_memory: ctx.config.size.memory,
            seccomp_profile: profile.as_deref(),
        })?;
        let volumes = self
            .mount_volumes(Some(sandbox.address), Duration::ZERO)
            .await
            .map_err(|failure| failure.message)?;
        let known = |name: &str| variables.get(name).cloned();
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let prepared =
                volumes.get(&mount.name).ok_or_else(|| format!("there is no volume {:?}", mount.name))?;
            let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
            let sub_path = match expression {
                "" => mount.sub_path.clone().unwrap_or_default(),
                expression => expand_all(expression, known)?,
            };
            mounts.push(self.mount(prepared, mount, &container.name, &sub_path).await?);
        }
        let own = self.own_files(spec, container, attempt, sandbox, &mounts).await;
        mounts.extend(own.map_err(|error| error.to_string())?);
        let mut labels = self.labels(&identity);
        labels.insert(IMAGE.into(), described.image.clone());
        Ok(ContainerSpec { name: identity.container_name(&ctx.config.cluster), labels, mounts, ..described })
    }

    async fn shown_hostname(&self, spec: &PodSpec) -> String {
        if spec.host_network == Some(true) {
            return self.ctx.files.of_machine().await.hostname;
        }
        // A pod whose name is too long never gets a sandbox, so it has no containers either.
        hostname::shown(&self.pod).unwrap_or_default()
    }

    /// The seccomp profile of the node that a container asks for, if it asks for one and that can be read.
    async fn seccomp_profile(&self, container: &Container) -> Option<String> {
        let wanted = security::seccomp_profile(&self.pod, container)?;
        let path = wanted.localhost_profile.filter(|_| wanted.type_ == "Localhost")?;
        self.ctx.files.seccomp_profile(&path).await
    }
}

/// What a pod's spec says of its sandbox. Pure.
fn of_sandbox(pod: &Pod) -> ContainerSpec {
    let spec = pod.spec.clone().unwrap_or_default();
    let share = |host: Option<bool>| if host == Some(true) { Share::Host } else { Share::Shareable };
    ContainerSpec {
        ipc: share(spec.host_ipc),
        pid: if spec.host_pid == Some(true) { Share::Host } else { Share::Own },
        sysctls: security::sysctls(pod),
        limits: Limits { cpu_shares: 2, oom_score_adj: -998, ..Limits::default() },
        ..ContainerSpec::default()
    }
}

/// What a container's description is made of.
struct Inputs<'a> {
    pod: &'a Pod,
    container: &'a Container,
    /// Those that the container will see.
    variables: &'a BTreeMap<String, String>,
    /// What its image asks for.
    image_user: &'a str,
    /// The sandbox's id.
    sandbox: &'a str,
    /// The id of the container whose processes it is to see.
    target: Option<&'a str>,
    /// The node's, in bytes.
    node_memory: i64,
    /// The seccomp profile of the node that it asks for, if that could be read.
    seccomp_profile: Option<&'a str>,
}

/// What a pod's spec says of a container, but for its files; or why it cannot be made, in upstream's words. Pure.
fn of_container(inputs: &Inputs<'_>) -> Result<ContainerSpec, String> {
    let Inputs { pod, container, .. } = *inputs;
    let spec = pod.spec.clone().unwrap_or_default();
    let user = security::user(pod, container, inputs.image_user)?;
    let known = |name: &str| inputs.variables.get(name).cloned();
    let filled =
        |words: &Option<Vec<String>>| words.iter().flatten().map(|word| expand(word, known)).collect();
    let join = || Share::Container(inputs.sandbox.to_owned());
    Ok(ContainerSpec {
        image: container.image.clone().unwrap_or_default(),
        entrypoint: filled(&container.command),
        args: filled(&container.args),
        env: inputs.variables.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        user: user.user,
        groups: user.groups,
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        network: NetworkMode::Container(inputs.sandbox.to_owned()),
        ipc: if spec.host_ipc == Some(true) { Share::Host } else { join() },
        pid: match (inputs.target, spec.host_pid, spec.share_process_namespace) {
            (Some(target), ..) => Share::Container(target.to_owned()),
            (_, Some(true), _) => Share::Host,
            (_, _, Some(true)) => join(),
            _ => Share::Own,
        },
        limits: resources::limits(pod, container, inputs.node_memory),
        security: security::rights(pod, container, inputs.seccomp_profile),
        ..ContainerSpec::default()
    })
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
mod tests;
