//! The cluster's bridge network, and the removal of everything that a cluster or a node has made.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters as query;
use bollard::{Docker, models};
use futures::StreamExt;

use super::answer::{error_of, gone_is_fine};
use super::connection::{DockerRuntime, label_filter};
use crate::labels::{self, Mark, Owner};
use crate::network::{self, Subnet};
use crate::runtime::{Error, Network, Removed, Runtime};

/// How often another subnet is tried when the chosen one has been taken meanwhile.
const TRIES: usize = 8;

/// Finds the cluster's network or makes it, on this subnet if one is named.
pub async fn ensure(docker: &Docker, mark: &Mark, wanted: Option<Subnet>) -> Result<Network, Error> {
    let cluster = &mark.cluster;
    let mut refusal = Error::Conflict("no free subnet for the cluster's network".into());
    let mut refused: Vec<Subnet> = Vec::new();
    for _ in 0..TRIES {
        let networks = docker.list_networks(None::<query::ListNetworksOptions>).await.map_err(error_of)?;
        if let Some(found) = networks.iter().find(|network| label(network, labels::CLUSTER) == Some(cluster))
        {
            if is_foreign(found, &mark.authority) {
                return Err(Error::Foreign(cluster.clone()));
            }
            let subnet = subnets(found.ipam.as_ref()).next();
            let subnet =
                subnet.ok_or_else(|| Error::Refused(format!("the network of {cluster} has no subnet")))?;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Ok(describe(text(&found.id), text(&found.name), subnet));
        }
        let taken = taken(&networks);
        let overlapping = wanted.and_then(|wanted| taken.iter().find(|(_, other)| other.overlaps(&wanted)));
        let subnet = match (wanted, overlapping) {
            (Some(subnet), Some((by, _))) => return Err(Error::SubnetTaken { subnet, by: by.clone() }),
            (Some(subnet), None) => subnet,
            (None, _) => {
                let taken: Vec<Subnet> =
                    taken.into_iter().map(|(_, subnet)| subnet).chain(refused.clone()).collect();
                let Some(subnet) = network::free_subnet(&taken) else { break };
                subnet
            }
        };
        let described = describe(String::new(), format!("coracle-{cluster}"), subnet);
        let pool = IpamConfig {
            subnet: Some(subnet.to_string()),
            gateway: Some(described.gateway.to_string()),
            ..Default::default()
        };
        let request = NetworkCreateRequest {
            name: described.name.clone(),
            driver: Some("bridge".into()),
            ipam: Some(Ipam { config: Some(vec![pool]), ..Default::default() }),
            labels: Some(HashMap::from([
                (labels::CLUSTER.to_owned(), cluster.clone()),
                (labels::AUTHORITY.to_owned(), mark.authority.clone()),
            ])),
            ..Default::default()
        };
        match docker.create_network(request).await.map_err(error_of) {
            Ok(made) => return Ok(Network { id: made.id, ..described }),
            // Another agent of the cluster was first (found in the next round), or the subnet is somebody else's.
            Err(error @ (Error::Conflict(_) | Error::Refused(_))) => {
                refused.push(subnet);
                refusal = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(refusal)
}

/// The subnets of networks and the machine's routes, each with what people call it.
fn taken(networks: &[models::Network]) -> Vec<(String, Subnet)> {
    let of_network = |network: &models::Network| {
        let name = network.name.clone().unwrap_or_default();
        let named =
            move |subnet| (format!("the network {name:?} ({subnet}; docker network rm {name})"), subnet);
        subnets(network.ipam.as_ref()).map(named).collect::<Vec<_>>()
    };
    let routes = network::routes().into_iter();
    let routes = routes.map(|subnet| (format!("a route of this machine ({subnet})"), subnet));
    networks.iter().flat_map(of_network).chain(routes).collect()
}

fn label<'a>(network: &'a models::Network, key: &str) -> Option<&'a String> {
    network.labels.as_ref()?.get(key)
}

/// Whether a network is that of another cluster of the same name.
fn is_foreign(network: &models::Network, authority: &str) -> bool {
    let theirs = label(network, labels::AUTHORITY).filter(|theirs| !theirs.is_empty());
    theirs.is_some_and(|theirs| !authority.is_empty() && theirs != authority)
}

fn describe(id: String, name: String, subnet: Subnet) -> Network {
    let gateway = Ipv4Addr::from(u32::from(subnet.first) + 1);
    Network { id, name, subnet, gateway }
}

fn subnets(ipam: Option<&Ipam>) -> impl Iterator<Item = Subnet> {
    let pools = ipam.and_then(|ipam| ipam.config.as_deref()).unwrap_or_default();
    pools.iter().filter_map(|pool| pool.subnet.as_deref()?.parse().ok())
}

/// How often a clean-up looks again for what others are removing at the same time, and the pause in between.
const LOOKS: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Removes everything of an owner, and looks until nothing is left.
pub async fn clean_up(
    runtime: &DockerRuntime,
    docker: &Docker,
    owner: &Owner,
    authority: &str,
) -> Result<Removed, Error> {
    let whole = Owner { node: None, ..owner.clone() };
    let options = query::ListNetworksOptions { filters: Some(label_filter(&whole)) };
    let networks = docker.list_networks(Some(options)).await.map_err(error_of)?;
    if networks.iter().any(|network| is_foreign(network, authority)) {
        return Err(Error::Foreign(owner.cluster.clone()));
    }
    let mut removed = Removed::default();
    for look in 0.. {
        let more = remove_once(runtime, docker, owner).await;
        match more {
            Ok(more) if more == Removed::default() => break,
            Ok(more) => {
                removed.containers = removed.containers.max(more.containers);
                removed.volumes += more.volumes;
                removed.networks += more.networks;
            }
            Err(error @ (Error::Unreachable(_) | Error::InUse { .. })) => return Err(error),
            Err(error) if look >= LOOKS => return Err(error),
            Err(_) => {}
        }
        if look >= LOOKS {
            return Err(Error::Conflict("something that is being removed does not go away".into()));
        }
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(removed)
}

/// Removes what is there now.
async fn remove_once(runtime: &DockerRuntime, docker: &Docker, owner: &Owner) -> Result<Removed, Error> {
    let mut removed = Removed::default();
    let ids = runtime.ids(owner).await?;
    removed.containers = ids.len();
    let removals =
        futures::stream::iter(ids).map(|id| async move { runtime.remove(&id).await }).buffer_unordered(8);
    for outcome in removals.collect::<Vec<_>>().await {
        outcome?;
    }
    let options = query::ListVolumesOptions { filters: Some(label_filter(owner)) };
    let volumes = docker.list_volumes(Some(options)).await.map_err(error_of)?.volumes.unwrap_or_default();
    for volume in volumes {
        let options = query::RemoveVolumeOptions { force: true };
        gone_is_fine(docker.remove_volume(&volume.name, Some(options)).await.map_err(error_of))?;
        removed.volumes += 1;
    }
    if owner.node.is_none() {
        let options = query::ListNetworksOptions { filters: Some(label_filter(owner)) };
        for network in docker.list_networks(Some(options)).await.map_err(error_of)? {
            let Some(id) = network.id else { continue };
            if let Err(error) = gone_is_fine(docker.remove_network(&id).await.map_err(error_of)) {
                return Err(in_use(runtime, docker, &id).await.unwrap_or(error));
            }
            removed.networks += 1;
        }
    }
    Ok(removed)
}

/// That containers which no agent has made keep a network from being removed; `None` if there are none.
async fn in_use(runtime: &DockerRuntime, docker: &Docker, network: &str) -> Option<Error> {
    let found = docker.inspect_network(network, None::<query::InspectNetworkOptions>).await.ok()?;
    let mut names = Vec::new();
    for (id, endpoint) in found.containers.unwrap_or_default() {
        let looked = runtime.inspect(&id).await;
        // What an agent has made is being removed.
        if matches!(looked, Ok(Some(one)) if !one.labels.contains_key(labels::CLUSTER)) {
            names.push(endpoint.name.filter(|name| !name.is_empty()).unwrap_or(id));
        }
    }
    names.sort();
    let network = found.name.unwrap_or_else(|| network.to_owned());
    (!names.is_empty()).then_some(Error::InUse { network, containers: names })
}
