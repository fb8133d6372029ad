//! What only one object may hold at a time: addresses, ports of nodes, ranges of pods' addresses.
//!
//! What an object claims is read off the object itself. So there are no records of what is taken that could be lost, leak or
//! disagree with the objects: whoever follows the changes knows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;

use coracle_api::kind::Exclusive;
use coracle_api::kinds::service::node_ports;
use coracle_api::read::{int, list};
use coracle_api::{Key, Kind};
use serde_json::Value;

/// One thing that only one object may hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// An address of the range for Services.
    Address(Ipv4Addr),
    /// A port on every node.
    NodePort(i64),
    /// The range from which one node gives its pods addresses.
    PodRange(String),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Address(address) => write!(f, "address {address}"),
            Claim::NodePort(port) => write!(f, "node port {port}"),
            Claim::PodRange(range) => write!(f, "pod range {range}"),
        }
    }
}

impl Claim {
    /// What an object claims.
    pub fn of(kind: &Kind, object: &Value) -> Vec<Claim> {
        match kind.claims {
            None => Vec::new(),
            Some(Exclusive::ServiceAddresses) => {
                let addresses = list(object, "/spec/clusterIPs").iter();
                let addresses = addresses.filter_map(|ip| ip.as_str()?.parse().ok()).map(Claim::Address);
                let ports = node_ports(object).into_iter().chain([int(object, "/spec/healthCheckNodePort")]);
                addresses.chain(ports.filter(|port| *port != 0).map(Claim::NodePort)).collect()
            }
            Some(Exclusive::PodRanges) => {
                let ranges = list(object, "/spec/podCIDRs").iter();
                ranges.filter_map(|range| Some(Claim::PodRange(range.as_str()?.to_owned()))).collect()
            }
        }
    }
}

/// Who holds what.
#[derive(Debug, Default)]
pub struct Claims {
    holders: HashMap<Claim, Key>,
    held: HashMap<Key, Vec<Claim>>,
}

impl Claims {
    /// Notes all that an object holds from now on.
    pub fn set(&mut self, key: &Key, claims: Cow<'_, [Claim]>) {
        for claim in self.held.remove(key).unwrap_or_default() {
            // Objects from before claims were checked may hold the same thing.
            if self.holders.get(&claim) == Some(key) {
                self.holders.remove(&claim);
            }
        }
        if claims.is_empty() {
            return;
        }
        self.holders.extend(claims.iter().map(|claim| (claim.clone(), key.clone())));
        self.held.insert(key.clone(), claims.into_owned());
    }

    /// Who holds it.
    pub fn holder(&self, claim: &Claim) -> Option<&Key> {
        self.holders.get(claim)
    }

    /// What an object holds.
    pub fn held_by(&self, key: &Key) -> &[Claim] {
        self.held.get(key).map_or(&[], Vec::as_slice)
    }

    /// Begins again.
    pub fn clear(&mut self) {
        self.holders.clear();
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_object_shows_is_what_it_holds() {
        let service = json!({"spec": {"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "healthCheckNodePort": 30_002,
            "ports": [{"nodePort": 30_001}, {"port": 1}]}});
        let held = Claim::of(&kinds::SERVICE, &service);
        let address = Claim::Address(Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(held, [address, Claim::NodePort(30_001), Claim::NodePort(30_002)]);
        assert_eq!(Claim::of(&kinds::SERVICE, &json!({"spec": {"clusterIPs": ["None"]}})), []);
        let node = json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}});
        assert_eq!(Claim::of(&kinds::NODE, &node), [Claim::PodRange("10.1.0.0/24".into())]);
        assert_eq!(Claim::of(&kinds::CONFIG_MAP, &node), []);
    }

    #[test]
    fn a_claim_ends_with_its_holder_and_not_with_a_namesake() {
        let key = |name: &str| Key::new(&kinds::SERVICE, "default", name);
        let (one, two) = (Claim::NodePort(1), Claim::NodePort(2));
        let mut claims = Claims::default();
        claims.set(&key("a"), Cow::Borrowed(&[one.clone(), two.clone()]));
        claims.set(&key("b"), Cow::Borrowed(std::slice::from_ref(&two)));
        claims.set(&key("a"), Cow::Borrowed(&[]));
        assert_eq!((claims.holder(&one), claims.holder(&two)), (None, Some(&key("b"))));
        assert_eq!((claims.held_by(&key("a")), claims.held_by(&key("b"))), (&[][..], &[two][..]));
    }
}
