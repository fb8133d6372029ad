//! Addresses in the cluster and ports on nodes: which of them a service is given. What is taken is known from the services
//! themselves ([`Claims`]); the store refuses a second holder, whichever server gave it out, and then it is looked for again.
//!
//! Source: `pkg/registry/core/service/storage/alloc.go` for the order of steps and the texts.

use std::collections::{HashMap, HashSet};
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

use crate::entry::claims::{Claim, Claims};

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

/// What was given out last: the search for the next goes on after it, so that what was just let go of rests for a while, and
/// writes that are under way at the same time find different things.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    last_address: u32,
    last_port: i64,
}

/// Why a service gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It asks for what cannot be given to it.
    Invalid(Errors),
    /// Nothing is left. Not the client's fault.
    Full(&'static str),
}

impl Allocator {
    /// Fills in what a new service needs. A dry run is shown no address.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn create(&mut self, service: &mut Value, held: &Claims, dry_run: bool) -> Result<(), Refused> {
        normalize(service);
        self.fill(service, None, held, dry_run)
    }

    /// The same for a changed service, which keeps what it held and still needs.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn update(
        &mut self,
        new: &mut Value,
        old: &Value,
        held: &Claims,
        dry_run: bool,
    ) -> Result<(), Refused> {
        normalize_update(new, old);
        self.fill(new, Some(old), held, dry_run)
    }

    fn fill(
        &mut self,
        service: &mut Value,
        old: Option<&Value>,
        held: &Claims,
        dry_run: bool,
    ) -> Result<(), Refused> {
        Attempt { all: self, held, ports: HashSet::new(), dry_run }.fill(service, old)
    }
}

/// One service on its way through.
struct Attempt<'a> {
    all: &'a mut Allocator,
    held: &'a Claims,
    /// The ports that it was given just now.
    ports: HashSet<i64>,
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
            if self.dry_run { u32::from(NETWORK) } else { self.next_address()? }
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
        if self.is_held(address) && !self.dry_run {
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
        if self.is_port_held(asked) {
            return Err(refuse(at, asked.into(), "provided port is already allocated"));
        }
        self.ports.insert(asked);
        Ok(asked)
    }

    fn any_port(&mut self) -> Result<i64, Refused> {
        let start = (self.all.last_port + 1).max(PORTS.start() + PORTS_LEFT_FREE);
        let free = (start..=*PORTS.end()).chain(PORTS).find(|port| !self.is_port_held(*port));
        let port = free.ok_or(Refused::Full("failed to allocate a nodePort: range is full"))?;
        self.all.last_port = port;
        self.ports.insert(port);
        Ok(port)
    }

    fn is_port_held(&self, port: i64) -> bool {
        self.ports.contains(&port) || self.held.holder(&Claim::NodePort(port)).is_some()
    }

    fn next_address(&mut self) -> Result<u32, Refused> {
        let (first, last) = (u32::from(NETWORK) + 1, u32::from(NETWORK) + (1 << (32 - PREFIX)) - 2);
        let start = (self.all.last_address + 1).max(first + LEFT_FREE);
        let free = (start..=last).chain(first..=last).find(|address| !self.is_held(*address));
        let address = free.ok_or(Refused::Full("failed to allocate a serviceIP: range is full"))?;
        self.all.last_address = address;
        Ok(address)
    }

    fn is_held(&self, address: u32) -> bool {
        self.held.holder(&Claim::Address(address.into())).is_some()
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
    use coracle_api::{Key, kinds};
    use proptest::prelude::*;

    use super::*;

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

    /// Everything that services hold, and what gives it out.
    #[derive(Default)]
    struct World {
        allocator: Allocator,
        held: Claims,
    }

    impl World {
        fn create(&mut self, name: &str, service: &mut Value) -> Result<(), Refused> {
            self.allocator.create(service, &self.held, false)?;
            self.hold(name, service);
            Ok(())
        }

        fn hold(&mut self, name: &str, service: &Value) {
            let claims = Claim::of(&kinds::SERVICE, service);
            self.held.set(&Key::new(&kinds::SERVICE, "default", name), claims.into());
        }
    }

    #[test]
    fn each_service_gets_its_own() {
        let mut world = World::default();
        let mut one =
            service(json!({"type": "NodePort", "ports": [{"port": 53}, {"port": 53}, {"port": 80}]}));
        let mut two = one.clone();
        world.create("one", &mut one).unwrap();
        world.create("two", &mut two).unwrap();
        assert_ne!(one["spec"]["clusterIP"], two["spec"]["clusterIP"]);
        let (ports, others) = (node_ports(&one), node_ports(&two));
        assert_eq!(ports[0], ports[1], "ports of one number share");
        assert!(ports.iter().all(|port| !others.contains(port)));
        assert_eq!(one["spec"]["ipFamilies"], json!(["IPv4"]));
    }

    #[test]
    fn what_cannot_be_given_is_refused_in_upstreams_words() {
        let mut world = World::default();
        let first =
            json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": [{"port": 1, "nodePort": 30_001}]});
        world.create("first", &mut service(first)).unwrap();
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
            assert_eq!(text_of(world.create("second", &mut service(spec)).unwrap_err()), expected);
        }
    }

    #[test]
    fn a_dry_run_is_shown_no_address() {
        let mut one = service(json!({"type": "NodePort", "ports": [{"port": 1}]}));
        assert_eq!(Allocator::default().create(&mut one, &Claims::default(), true), Ok(()));
        assert_eq!(one["spec"]["clusterIP"], "10.0.0.0");
    }

    proptest! {
        /// Whatever a service goes through, it keeps what it still needs, and what it has is its own.
        #[test]
        fn what_a_service_has_is_its_own(types in proptest::collection::vec(0..4usize, 1..6)) {
            let named = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
            let mut world = World::default();
            let mut other = service(json!({"type": "NodePort", "ports": [{"port": 1}]}));
            world.create("other", &mut other).unwrap();
            let mut old = service(json!({"type": named[types[0]], "allocateLoadBalancerNodePorts": true, "ports": [{"port": 1}]}));
            world.create("one", &mut old).unwrap();
            for kind in &types[1..] {
                let mut new = old.clone();
                new["spec"]["type"] = named[*kind].into();
                world.allocator.update(&mut new, &old, &world.held, false).unwrap();
                new["spec"]["allocateLoadBalancerNodePorts"] = true.into();
                (kinds::SERVICE.strategy.prepare_update)(&kinds::SERVICE, &mut new, &old);
                let (had, has) = (Claim::of(&kinds::SERVICE, &old), Claim::of(&kinds::SERVICE, &new));
                let is_address = |claim: &&Claim| matches!(claim, Claim::Address(_));
                if let (Some(had), Some(has)) = (had.iter().find(is_address), has.iter().find(is_address)) {
                    prop_assert_eq!(had, has);
                }
                prop_assert!(Claim::of(&kinds::SERVICE, &other).iter().all(|claim| !has.contains(claim)));
                world.hold("one", &new);
                old = new;
            }
        }
    }
}
