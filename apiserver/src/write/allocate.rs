//! Addresses in the cluster and ports on nodes: which service has which. The registry keeps one [`Allocations`], fills it
//! from the services that it loads, and asks it before every write of a service.
//!
//! Source: `pkg/registry/core/service/storage/alloc.go` for the order of steps and the texts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use coracle_api::field::is_zero;
use coracle_api::kinds::service::{
    check_addresses, is_headless, needs_cluster_ip, needs_health_port, needs_node_port, node_ports,
    normalize, normalize_update,
};
use coracle_api::kinds::strategy::clear;
use coracle_api::read::{int, is_true, list, text};
use coracle_api::{Errors, Path};
use serde_json::{Value, json};

/// The first address of the range for services. Upstream's API server starts at the same one.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);

/// How many bits of an address name the range: room for 65,534 services, where upstream's 24 have room for 254.
const PREFIX: u32 = 16;

/// The ports on nodes that services may have, as upstream.
const PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// The first addresses, and the first ports, are left to those who ask for one by number, as upstream does, so that
/// whoever asks late finds it free.
const LEFT_FREE: u32 = 256;
const PORTS_LEFT_FREE: i64 = 86;

/// What all services together hold.
#[derive(Clone, Debug, Default)]
pub struct Allocations {
    addresses: BTreeSet<u32>,
    ports: BTreeSet<i64>,
    last_address: u32,
    last_port: i64,
}

/// What one write took anew: to be given back if the write fails.
#[must_use = "what was taken must be given back if the write fails"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    addresses: Vec<u32>,
    ports: Vec<i64>,
}

/// Why a service gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It asks for what cannot be given to it.
    Invalid(Errors),
    /// Nothing is left. Not the client's fault.
    Full(&'static str),
}

impl Allocations {
    /// Notes what a service that is there already holds.
    pub fn adopt(&mut self, service: &Value) {
        let held = holdings(service);
        self.addresses.extend(held.addresses);
        self.ports.extend(held.ports);
    }

    /// Forgets what a service that is gone held.
    pub fn release(&mut self, service: &Value) {
        self.give_back(holdings(service));
    }

    /// Undoes what a write took that failed later.
    pub fn give_back(&mut self, taken: Taken) {
        for address in &taken.addresses {
            self.addresses.remove(address);
        }
        for port in &taken.ports {
            self.ports.remove(port);
        }
    }

    /// Forgets what a service held before a write that went well, and no longer holds.
    pub fn settle(&mut self, new: &Value, old: &Value) {
        let (held, before) = (holdings(new), holdings(old));
        let addresses =
            before.addresses.into_iter().filter(|address| !held.addresses.contains(address)).collect();
        let ports = before.ports.into_iter().filter(|port| !held.ports.contains(port)).collect();
        self.give_back(Taken { addresses, ports });
    }

    /// Fills in what a new service needs. A dry run takes nothing.
    ///
    /// # Errors
    /// [`Refused`], with nothing taken.
    pub fn create(&mut self, service: &mut Value, dry_run: bool) -> Result<Taken, Refused> {
        normalize(service);
        self.fill(service, None, dry_run)
    }

    /// The same for a changed service, which keeps what it held and still needs.
    ///
    /// # Errors
    /// [`Refused`], with nothing taken.
    pub fn update(&mut self, new: &mut Value, old: &Value, dry_run: bool) -> Result<Taken, Refused> {
        normalize_update(new, old);
        self.fill(new, Some(old), dry_run)
    }

    fn fill(&mut self, service: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<Taken, Refused> {
        let mut attempt = Attempt { all: self, taken: Taken::default(), dry_run };
        let outcome = attempt.fill(service, old);
        let taken = attempt.taken;
        if outcome.is_ok() && !dry_run {
            return Ok(taken);
        }
        self.give_back(taken);
        outcome.map(|()| Taken::default())
    }

    fn next_address(&mut self) -> Result<u32, Refused> {
        let (first, last) = (u32::from(NETWORK) + 1, u32::from(NETWORK) + (1 << (32 - PREFIX)) - 2);
        let start = (self.last_address + 1).max(first + LEFT_FREE);
        let free = (start..=last).chain(first..=last).find(|address| !self.addresses.contains(address));
        let address = free.ok_or(Refused::Full("failed to allocate a serviceIP: range is full"))?;
        self.last_address = address;
        Ok(address)
    }

    fn next_port(&mut self) -> Result<i64, Refused> {
        let start = (self.last_port + 1).max(PORTS.start() + PORTS_LEFT_FREE);
        let free = (start..=*PORTS.end()).chain(PORTS).find(|port| !self.ports.contains(port));
        let port = free.ok_or(Refused::Full("failed to allocate a nodePort: range is full"))?;
        self.last_port = port;
        Ok(port)
    }
}

/// What a service holds.
fn holdings(service: &Value) -> Taken {
    let addresses =
        list(service, "/spec/clusterIPs").iter().filter_map(|ip| ip.as_str()?.parse::<Ipv4Addr>().ok());
    let mut ports: Vec<i64> = node_ports(service);
    ports.push(int(service, "/spec/healthCheckNodePort"));
    ports.retain(|port| *port != 0);
    Taken { addresses: addresses.map(u32::from).collect(), ports }
}

/// One service on its way through.
struct Attempt<'a> {
    all: &'a mut Allocations,
    taken: Taken,
    dry_run: bool,
}

impl Attempt<'_> {
    fn fill(&mut self, service: &mut Value, old: Option<&Value>) -> Result<(), Refused> {
        families(service)?;
        if needs_cluster_ip(service) && !is_headless(service) {
            self.address(service, old)?;
        }
        if needs_node_port(service) {
            match old.filter(|old| needs_node_port(old)) {
                None => self.first_ports(service)?,
                Some(old) => self.more_ports(service, old)?,
            }
        }
        if needs_health_port(service) && !old.is_some_and(needs_health_port) {
            self.health_port(service)?;
        }
        Ok(())
    }

    fn address(&mut self, service: &mut Value, old: Option<&Value>) -> Result<(), Refused> {
        let wanted = text(service, "/spec/clusterIPs/0").to_owned();
        let held = old.is_some_and(|old| needs_cluster_ip(old) && !is_headless(old));
        if !wanted.is_empty() && held {
            return Ok(());
        }
        let address = if wanted.is_empty() {
            // Upstream's dry run shows the network itself: an address that nobody can have.
            if self.dry_run { u32::from(NETWORK) } else { self.all.next_address()? }
        } else {
            self.wanted_address(&wanted).map_err(|detail| {
                let all = json!(list(service, "/spec/clusterIPs"));
                refuse(
                    &Path::root("spec").child("clusterIPs"),
                    all,
                    &format!("failed to allocate IP {wanted}: {detail}"),
                )
            })?
        };
        if !self.dry_run {
            self.all.addresses.insert(address);
            self.taken.addresses.push(address);
        }
        let address = Ipv4Addr::from(address).to_string();
        service["spec"]["clusterIP"] = address.clone().into();
        service["spec"]["clusterIPs"] = json!([address]);
        Ok(())
    }

    fn wanted_address(&self, wanted: &str) -> Result<u32, String> {
        let address = wanted.parse::<Ipv4Addr>().map(u32::from).unwrap_or(0);
        let network = u32::from(NETWORK);
        if address >> (32 - PREFIX) != network >> (32 - PREFIX) {
            return Err("the provided network does not match the current range".into());
        }
        if address == network || address == network + (1 << (32 - PREFIX)) - 1 {
            let range = format!("The range of valid IPs is {NETWORK}/{PREFIX}");
            return Err(format!("the provided IP ({wanted}) is not in the valid range. {range}"));
        }
        if self.all.addresses.contains(&address) && !self.dry_run {
            return Err("provided IP is already allocated".into());
        }
        Ok(address)
    }

    /// Ports for a service that had none: those of one number share one, whatever their protocol.
    fn first_ports(&mut self, service: &mut Value) -> Result<(), Refused> {
        let automatic = allocates(service);
        let ports: Vec<(i64, i64)> = list(service, "/spec/ports")
            .iter()
            .map(|port| (int(port, "/port"), int(port, "/nodePort")))
            .collect();
        // The port on nodes that is asked for, and the one that was given, by the port's own number.
        let mut asked_for: HashMap<i64, i64> = HashMap::new();
        for &(number, asked) in ports.iter().filter(|(_, asked)| *asked != 0) {
            asked_for.entry(number).or_insert(asked);
        }
        let mut given: HashMap<i64, i64> = HashMap::new();
        for (index, &(number, asked)) in ports.iter().enumerate() {
            if asked == 0 && !automatic {
                continue;
            }
            let on_node = match given.get(&number).copied() {
                Some(shared) if asked == 0 || asked == shared => shared,
                Some(_) => self.port(index, asked)?,
                None => {
                    let on_node = match asked_for.get(&number) {
                        Some(asked) => self.port(index, *asked)?,
                        None => self.any_port()?,
                    };
                    given.insert(number, on_node);
                    on_node
                }
            };
            service["spec"]["ports"][index]["nodePort"] = on_node.into();
        }
        Ok(())
    }

    /// Ports for a service that had some: new ones only where they are new.
    fn more_ports(&mut self, service: &mut Value, old: &Value) -> Result<(), Refused> {
        let automatic = allocates(service);
        let held: HashSet<i64> = node_ports(old).into_iter().collect();
        // Ports of one number on nodes share it.
        let mut taken: HashSet<i64> = HashSet::new();
        for index in 0..list(service, "/spec/ports").len() {
            let asked = int(&service["spec"]["ports"][index], "/nodePort");
            if asked == 0 && automatic {
                let given = self.any_port()?;
                taken.insert(given);
                service["spec"]["ports"][index]["nodePort"] = given.into();
            } else if asked != 0 && !held.contains(&asked) && taken.insert(asked) {
                self.port(index, asked)?;
            }
        }
        Ok(())
    }

    fn health_port(&mut self, service: &mut Value) -> Result<(), Refused> {
        let asked = int(service, "/spec/healthCheckNodePort");
        if asked == 0 {
            service["spec"]["healthCheckNodePort"] = self.any_port()?.into();
            return Ok(());
        }
        let at = Path::root("spec");
        self.take_port(&at.child("healthCheckNodePort"), asked).map(drop)
    }

    fn port(&mut self, index: usize, asked: i64) -> Result<i64, Refused> {
        self.take_port(&Path::root("spec").child("ports").index(index).child("nodePort"), asked)
    }

    fn take_port(&mut self, at: &Path<'_>, asked: i64) -> Result<i64, Refused> {
        if !PORTS.contains(&asked) {
            let (first, last) = (PORTS.start(), PORTS.end());
            let detail = format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            );
            return Err(refuse(at, asked.into(), &detail));
        }
        if !self.all.ports.insert(asked) {
            return Err(refuse(at, asked.into(), "provided port is already allocated"));
        }
        self.taken.ports.push(asked);
        Ok(asked)
    }

    fn any_port(&mut self) -> Result<i64, Refused> {
        let port = self.all.next_port()?;
        self.all.ports.insert(port);
        self.taken.ports.push(port);
        Ok(port)
    }
}

fn allocates(service: &Value) -> bool {
    text(service, "/spec/type") == "NodePort" || is_true(service, "/spec/allocateLoadBalancerNodePorts")
}

fn refuse(at: &Path<'_>, value: Value, detail: &str) -> Refused {
    let mut errors = Errors::new();
    errors.invalid(at, value, detail);
    Refused::Invalid(errors)
}

/// Fills in address families. This cluster has IPv4 only; a headless service without selector may say what it likes.
fn families(service: &mut Value) -> Result<(), Refused> {
    if !needs_cluster_ip(service) {
        return Ok(());
    }
    let mut errors = Errors::new();
    check_addresses(service, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let given: Vec<String> =
        list(service, "/spec/ipFamilies").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let policy = text(service, "/spec/ipFamilyPolicy").to_owned();
    if is_headless(service) && service.pointer("/spec/selector").is_none_or(is_zero) {
        let first = given.first().map_or("IPv4", String::as_str);
        let mut families = if given.is_empty() { vec![first.to_owned()] } else { given.clone() };
        if families.len() < 2 && policy != "SingleStack" {
            families.push(if first == "IPv4" { "IPv6".into() } else { "IPv4".into() });
        }
        service["spec"]["ipFamilies"] = families.into();
        if policy.is_empty() {
            service["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
        }
        return Ok(());
    }
    let spec = Path::root("spec");
    if policy == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        return Err(refuse(&spec.child("ipFamilyPolicy"), policy.into(), detail));
    }
    if let Some(index) = given.iter().position(|family| family != "IPv4") {
        let family = given[index].clone().into();
        return Err(refuse(&spec.child("ipFamilies").index(index), family, "not configured on this cluster"));
    }
    let addresses = list(service, "/spec/clusterIPs");
    if let Some(index) = addresses.iter().position(|ip| ip.as_str().is_some_and(|ip| ip.contains(':'))) {
        let at = spec.child("clusterIPs");
        return Err(refuse(&at.index(index), json!(addresses), "IPv6 is not configured on this cluster"));
    }
    if given.is_empty() {
        service["spec"]["ipFamilies"] = json!(["IPv4"]);
    }
    if policy.is_empty() {
        clear(&mut service["spec"], "ipFamilyPolicy");
        service["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn service(spec: Value) -> Value {
        json!({"spec": spec})
    }

    fn text_of(refused: Refused) -> String {
        match refused {
            Refused::Invalid(errors) => {
                errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            Refused::Full(text) => text.into(),
        }
    }

    #[test]
    fn each_service_gets_its_own() {
        let mut all = Allocations::default();
        let mut one =
            service(json!({"type": "NodePort", "ports": [{"port": 53}, {"port": 53}, {"port": 80}]}));
        let mut two = one.clone();
        let _ = all.create(&mut one, false).unwrap();
        let _ = all.create(&mut two, false).unwrap();
        assert_ne!(one["spec"]["clusterIP"], two["spec"]["clusterIP"]);
        let (ports, others) = (node_ports(&one), node_ports(&two));
        assert_eq!(ports[0], ports[1], "ports of one number share");
        assert!(ports.iter().all(|port| !others.contains(port)));
        assert_eq!(one["spec"]["ipFamilies"], json!(["IPv4"]));
    }

    #[test]
    fn what_cannot_be_given_is_refused_in_upstreams_words() {
        let mut all = Allocations::default();
        let _ = all.create(&mut service(json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": [{"port": 1, "nodePort": 30_001}]})), false);
        let cases = [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.9"}),
                "spec.clusterIPs: Invalid value: [\"10.0.0.9\"]: failed to allocate IP 10.0.0.9: provided IP is already allocated",
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "192.0.2.7"}),
                "spec.clusterIPs: Invalid value: [\"192.0.2.7\"]: failed to allocate IP 192.0.2.7: the provided network does not match the current range",
            ),
            (
                json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}),
                "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30_001}]}),
                "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated",
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}),
                "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "none"}),
                "spec.clusterIPs[0]: Invalid value: \"none\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
        ];
        for (spec, expected) in cases {
            let before = format!("{:?}", (&all.addresses, &all.ports));
            assert_eq!(text_of(all.create(&mut service(spec), false).unwrap_err()), expected);
            assert_eq!(format!("{:?}", (&all.addresses, &all.ports)), before, "nothing stays taken");
        }
    }

    #[test]
    fn a_dry_run_takes_nothing() {
        let mut all = Allocations::default();
        let mut one = service(json!({"type": "NodePort", "ports": [{"port": 1}]}));
        assert_eq!(all.create(&mut one, true), Ok(Taken::default()));
        assert_eq!(one["spec"]["clusterIP"], "10.0.0.0");
        assert!(all.addresses.is_empty() && all.ports.is_empty());
    }

    proptest! {
        /// Whatever a service goes through, what is held afterwards is what the service shows; after its end, nothing is.
        #[test]
        fn what_is_held_is_what_is_shown(types in proptest::collection::vec(0..4usize, 1..6)) {
            let named = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
            let mut all = Allocations::default();
            let mut old = service(json!({"type": named[types[0]], "allocateLoadBalancerNodePorts": true, "ports": [{"port": 1}]}));
            let _ = all.create(&mut old, false).unwrap();
            for kind in &types[1..] {
                let mut new = old.clone();
                new["spec"]["type"] = named[*kind].into();
                let _ = all.update(&mut new, &old, false).unwrap();
                new["spec"]["allocateLoadBalancerNodePorts"] = true.into();
                (coracle_api::kinds::SERVICE.strategy.prepare_update)(&coracle_api::kinds::SERVICE, &mut new, &old);
                all.settle(&new, &old);
                let held = holdings(&new);
                prop_assert_eq!(all.addresses.iter().copied().collect::<Vec<_>>(), held.addresses);
                prop_assert_eq!(all.ports.iter().copied().collect::<Vec<_>>(), held.ports);
                old = new;
            }
            all.release(&old);
            prop_assert!(all.addresses.is_empty() && all.ports.is_empty());
        }
    }
}
