//! Addresses: which subnet the cluster takes, which slice of it a node, which address of that a pod. All pure, but for
//! a look at the machine's routes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use parking_lot::Mutex;

/// The second number of the subnets tried, in order: the first that collides with nothing is taken. 10.88 is the
/// default; podman uses it, too, so there are others. 10.96 to 10.111 are left to Services.
const CANDIDATES: [std::ops::RangeInclusive<u8>; 2] = [88..=95, 112..=126];

/// The length of the prefix of a cluster's network.
const WHOLE: u8 = 16;
/// That of a node's slice of it.
const SLICE: u8 = 24;

/// A range of IPv4 addresses, such as `10.88.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its first address.
    pub first: Ipv4Addr,
    /// The length of its prefix.
    pub prefix: u8,
}

impl Subnet {
    /// The subnet of this prefix length that holds an address.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Subnet {
        let prefix = prefix.min(32);
        Subnet { first: Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix }
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        u32::from(self.first) & shorter == u32::from(other.first) & shorter
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.first)
    }

    /// Whether it is a node's slice of this network.
    pub fn is_slice_of(&self, whole: &Subnet) -> bool {
        self.prefix == SLICE && whole.prefix <= SLICE && whole.contains(self.first)
    }

    /// How many slices it has.
    pub fn slices(&self) -> u32 {
        SLICE.checked_sub(self.prefix).map_or(0, |bits| 1 << bits.min(16))
    }

    /// The n-th slice of it.
    pub fn slice(&self, n: u16) -> Option<Subnet> {
        let first = u32::from(self.first).checked_add(u32::from(n) << 8)?;
        let slice = Subnet::new(Ipv4Addr::from(first), SLICE);
        (self.prefix <= SLICE && self.contains(slice.first)).then_some(slice)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = ();
    fn from_str(text: &str) -> Result<Subnet, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let prefix: u8 = prefix.parse().map_err(|_| ())?;
        if prefix > 32 {
            return Err(());
        }
        Ok(Subnet::new(address.parse().map_err(|_| ())?, prefix))
    }
}

/// The first candidate that collides with none of these.
pub fn free_subnet(taken: &[Subnet]) -> Option<Subnet> {
    candidates().find(|candidate| !taken.iter().any(|other| other.overlaps(candidate)))
}

/// The candidate that a slice is of: on it a network is made again that is gone.
pub fn subnet_around(slice: Subnet) -> Option<Subnet> {
    candidates().find(|candidate| slice.is_slice_of(candidate))
}

fn candidates() -> impl Iterator<Item = Subnet> {
    CANDIDATES.into_iter().flatten().map(|second| Subnet::new(Ipv4Addr::new(10, second, 0, 0), WHOLE))
}

/// Where the machine's own routes lead, so that the cluster does not hide a network that people need. Empty where
/// there is no such table.
pub fn routes() -> Vec<Subnet> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// Reads the kernel's table: destination and mask are little-endian hexadecimal. The default route covers everything
/// and is left out.
fn parse_routes(table: &str) -> Vec<Subnet> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let read = rows.filter_map(|row| Some((number(row.get(1)?)?, number(row.get(7)?)?)));
    let read = read.map(|(to, mask)| Subnet::new(Ipv4Addr::from(to), mask.count_ones() as u8));
    read.filter(|subnet| subnet.prefix > 0).collect()
}

/// The addresses of a node's slice: each is one pod's for as long as the pod lives here.
#[derive(Debug)]
pub struct Addresses {
    slice: Subnet,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Which pod has which, by the pod's uid.
    held: BTreeMap<Ipv4Addr, String>,
    /// Addresses that the engine says are in use, though by no pod of the node. Tried again when nothing else is left.
    foreign: BTreeSet<Ipv4Addr>,
}

impl Addresses {
    /// A slice of which nothing is handed out yet.
    pub fn new(slice: Subnet) -> Addresses {
        Addresses { slice, known: Mutex::default() }
    }

    /// The slice.
    pub fn slice(&self) -> Subnet {
        self.slice
    }

    /// Takes the address that a pod has already. `false`: it is not of this slice, or somebody else's.
    pub fn claim(&self, address: Ipv4Addr, uid: &str) -> bool {
        let mut known = self.known.lock();
        let free = self.slice.contains(address) && !known.foreign.contains(&address);
        free && known.held.entry(address).or_insert_with(|| uid.to_owned()) == uid
    }

    /// The lowest free address; `None` if there is none left.
    pub fn take(&self, uid: &str) -> Option<Ipv4Addr> {
        let mut known = self.known.lock();
        let first = u32::from(self.slice.first);
        let size = !mask(self.slice.prefix);
        // Without the network's address and its gateway's, and without the last: broadcast.
        let mut all =
            (2..size).map(|n| Ipv4Addr::from(first + n)).filter(|one| !known.held.contains_key(one));
        let free = all.clone().find(|one| !known.foreign.contains(one)).or_else(|| all.next())?;
        known.foreign.remove(&free);
        known.held.insert(free, uid.to_owned());
        Some(free)
    }

    /// Gives a pod's address back. If another pod has it by now, nothing changes.
    pub fn free(&self, address: Ipv4Addr, uid: &str) {
        let mut known = self.known.lock();
        if known.held.get(&address).is_some_and(|holder| holder == uid) {
            known.held.remove(&address);
        }
    }

    /// Gives an address back that the engine refused: somebody else has it.
    pub fn pass_over(&self, address: Ipv4Addr, uid: &str) {
        self.free(address, uid);
        self.known.lock().foreign.insert(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_that_collides_is_passed_over() {
        let cases = [
            (vec![], "10.88.0.0/16"),
            (vec!["172.17.0.0/16", "192.168.0.0/16"], "10.88.0.0/16"),
            (vec!["10.88.0.0/16"], "10.89.0.0/16"),
            (vec!["10.88.3.0/24", "10.89.0.0/16"], "10.90.0.0/16"),
            (vec!["10.80.0.0/12"], "10.112.0.0/16"),
        ];
        for (taken, expected) in cases {
            let taken: Vec<Subnet> = taken.into_iter().map(subnet).collect();
            assert_eq!(free_subnet(&taken), Some(subnet(expected)), "taken: {taken:?}");
        }
        assert_eq!(free_subnet(&[subnet("0.0.0.0/0")]), None);
    }

    #[test]
    fn slices_stay_inside() {
        let whole = subnet("10.88.0.0/16");
        assert_eq!(whole.slice(3), Some(subnet("10.88.3.0/24")));
        assert_eq!(subnet("10.88.0.0/23").slice(2), None);
        assert_eq!(subnet("10.88.0.0/25").slice(0), None);
        for (text, slices) in
            [("10.0.0.0/8", 65_536), ("10.88.0.0/16", 256), ("10.88.0.0/24", 1), ("10.88.0.0/25", 0)]
        {
            assert_eq!(subnet(text).slices(), slices, "{text}");
            assert_eq!(
                (0..=u16::MAX).map_while(|n| subnet(text).slice(n)).count(),
                slices as usize,
                "{text}"
            );
        }
        assert_eq!(subnet_around(subnet("10.90.3.0/24")), Some(subnet("10.90.0.0/16")));
        assert_eq!(subnet_around(subnet("10.90.3.0/28")), None, "no slice");
        assert_eq!(subnet_around(subnet("10.0.3.0/24")), None, "where Services have their addresses");
    }

    #[test]
    fn an_address_is_one_pods_until_that_pod_gives_it_back() {
        let address = |last| Ipv4Addr::new(10, 88, 1, last);
        let addresses = Addresses::new(subnet("10.88.1.0/24"));
        assert!(addresses.claim(address(3), "x") && addresses.claim(address(3), "x"));
        assert!(!addresses.claim(address(3), "y"), "another has it");
        assert!(!addresses.claim(Ipv4Addr::new(10, 88, 2, 3), "y"), "another node's");
        assert_eq!(addresses.take("y"), Some(address(2)));
        assert_eq!(addresses.take("z"), Some(address(4)));
        addresses.free(address(3), "y");
        assert!(!addresses.claim(address(3), "y"), "only its pod can give it back");
        addresses.free(address(3), "x");
        assert_eq!(addresses.take("y"), Some(address(3)));
    }

    #[test]
    fn what_the_engine_refuses_is_the_last_to_be_tried_again() {
        let address = |last| Ipv4Addr::new(10, 88, 1, last);
        let addresses = Addresses::new(subnet("10.88.1.0/24"));
        assert_eq!(addresses.take("x"), Some(address(2)));
        addresses.pass_over(address(2), "x");
        assert!(!addresses.claim(address(2), "x"));
        let all: Vec<_> = std::iter::from_fn(|| addresses.take("x")).collect();
        assert_eq!((all.len(), all[0], all.last()), (253, address(3), Some(&address(2))));
    }

    #[test]
    fn the_kernels_routes_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(parse_routes(table), vec![subnet("172.17.0.0/16")]);
    }
}
