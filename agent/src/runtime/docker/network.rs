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
        if let Some(found) = choose(&networks, mark, wanted)? {
            let subnet = subnets(found.ipam.as_ref()).next();
            let subnet =
                subnet.ok_or_else(|| Error::Refused(format!("the network of {cluster} has no subnet")))?;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Ok(describe(text(&found.id), text(&found.name), subnet));
        }
        free_name(&networks, mark)?;
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
        let described = describe(String::new(), name(mark), subnet);
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

/// The name under which a cluster's network is made.
fn name(mark: &Mark) -> String {
    format!("coracle-{}", mark.cluster)
}

/// The cluster's network among all of the engine. Anybody can give one the label of a cluster, so one that does not say whose
/// cluster it means is taken only where no other is; among several that would do, the one on this subnet, or of the usual name.
/// Refused where all there is belongs to another cluster of the same name.
fn choose<'a>(
    networks: &'a [models::Network],
    mark: &Mark,
    wanted: Option<Subnet>,
) -> Result<Option<&'a models::Network>, Error> {
    let labelled = || networks.iter().filter(|one| label(one, labels::CLUSTER) == Some(&mark.cluster));
    let is_own = |one: &&models::Network| label(one, labels::AUTHORITY) == Some(&mark.authority);
    let is_elsewhere = |one: &&models::Network| {
        let on = |subnet| subnets(one.ipam.as_ref()).any(|other| other == subnet);
        (wanted.is_some_and(|wanted| !on(wanted)), one.name != Some(name(mark)))
    };
    let own = labelled().filter(|one| !mark.authority.is_empty() && is_own(one)).min_by_key(is_elsewhere);
    if own.is_none() && labelled().any(|one| is_foreign(one, &mark.authority)) {
        return Err(Error::Foreign(mark.cluster.clone()));
    }
    Ok(own.or_else(|| labelled().min_by_key(is_elsewhere)))
}

/// Refuses to make the cluster's network beside one of its name: some engines would, and then connect nothing to either.
fn free_name(networks: &[models::Network], mark: &Mark) -> Result<(), Error> {
    let name = name(mark);
    let Some(other) = networks.iter().find(|one| one.name.as_ref() == Some(&name)) else { return Ok(()) };
    let id = other.id.as_deref().unwrap_or_default();
    let on = subnets(other.ipam.as_ref()).next().map(|subnet| format!(" ({subnet})")).unwrap_or_default();
    Err(Error::Refused(format!(
        "the cluster's network cannot be made: its name {name:?} is that of a network{on} which is not the cluster's. Remove \
         that (docker network rm {id}), or start the cluster under another name"
    )))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(id: &str, name: &str, subnet: &str, labels: &[(&str, &str)]) -> models::Network {
        let pool = IpamConfig { subnet: Some(subnet.into()), ..Default::default() };
        models::Network {
            id: Some(id.into()),
            name: Some(name.into()),
            ipam: Some(Ipam { config: Some(vec![pool]), ..Default::default() }),
            labels: Some(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()),
            ..Default::default()
        }
    }

    fn mark(authority: &str) -> Mark {
        Mark { cluster: "x".into(), authority: authority.into() }
    }

    /// Whatever order the engine lists them in, which is by chance.
    #[test]
    fn the_clusters_network_is_the_one_of_its_authority() {
        let (cluster, ours, theirs) =
            ((labels::CLUSTER, "x"), (labels::AUTHORITY, "ours"), (labels::AUTHORITY, "theirs"));
        let own = || made("own", "coracle-x", "10.88.0.0/16", &[cluster, ours]);
        let nobodys = || made("nobodys", "s", "10.199.0.0/16", &[cluster]);
        let old = || made("old", "coracle-x", "10.89.0.0/16", &[cluster]);
        let foreign = || made("foreign", "coracle-x", "10.90.0.0/16", &[cluster, theirs]);
        let unlabelled = || made("unlabelled", "coracle-x", "10.88.0.0/16", &[]);
        let other = || made("other", "coracle-y", "10.91.0.0/16", &[(labels::CLUSTER, "y"), ours]);
        let subnet = |text: &str| -> Option<Subnet> { text.parse().ok() };
        let cases = [
            ("none", vec![unlabelled(), other()], "ours", None, Ok(None)),
            ("own beside nobody's", vec![nobodys(), own()], "ours", None, Ok(Some("own"))),
            (
                "nobody's has the subnet",
                vec![nobodys(), own()],
                "ours",
                subnet("10.199.0.0/16"),
                Ok(Some("own")),
            ),
            ("own beside another's", vec![foreign(), own()], "ours", None, Ok(Some("own"))),
            ("nobody's alone", vec![nobodys()], "ours", None, Ok(Some("nobodys"))),
            ("the usual name", vec![nobodys(), old()], "ours", None, Ok(Some("old"))),
            (
                "the known subnet",
                vec![nobodys(), old()],
                "ours",
                subnet("10.199.0.0/16"),
                Ok(Some("nobodys")),
            ),
            ("another's", vec![nobodys(), foreign()], "ours", None, Err(Error::Foreign("x".into()))),
            ("without an authority", vec![nobodys(), own()], "", None, Ok(Some("own"))),
        ];
        for (case, mut networks, authority, wanted, expected) in cases {
            for _ in 0..networks.len() {
                networks.rotate_left(1);
                let found = choose(&networks, &mark(authority), wanted);
                let found = found.map(|found| found.and_then(|found| found.id.as_deref()));
                assert_eq!(found, expected, "case: {case}");
            }
        }
    }

    #[test]
    fn who_has_the_networks_name_is_told() {
        let other = made("1234", "coracle-y", "10.88.0.0/16", &[]);
        assert_eq!(free_name(std::slice::from_ref(&other), &mark("ours")), Ok(()));
        let stranger = made("5678", "coracle-x", "10.197.0.0/24", &[]);
        let refused = free_name(&[other, stranger], &mark("ours")).unwrap_err().to_string();
        for part in ["\"coracle-x\"", "(10.197.0.0/24)", "docker network rm 5678"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
}
