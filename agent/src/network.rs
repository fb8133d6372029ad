//! Addresses: which subnet the cluster takes, which slice of it a node, which address of that a pod. All pure, but for
//! a look at the machine's routes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use parking_lot::Mutex;

/// The second number of the subnets tried, in order: the first that collides with nothing is taken. 10.88 is the
/// default; podman likes it too, hence the others.
/// 10.96 to 10.111 are left to Services.
const CANDIDATES: [std::ops::RangeInclusive<u8>; 2] = [88..=95, 112..=126];

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

    /// The n-th /24 within it: a node's slice.
    pub fn slice(&self, n: u16) -> Option<Subnet> {
        let first = u32::from(self.first).checked_add(u32::from(n) << 8)?;
        let slice = Subnet::new(Ipv4Addr::from(first), 24);
        (self.prefix <= 24 && self.contains(slice.first)).then_some(slice)
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
    let candidates =
        CANDIDATES.into_iter().flatten().map(|second| Subnet::new(Ipv4Addr::new(10, second, 0, 0), 16));
    candidates.into_iter().find(|candidate| !taken.iter().any(|other| other.overlaps(candidate)))
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

/// The addresses of a node's slice: handed out once, given back when the pod is gone.
#[derive(Debug)]
pub struct Addresses {
    slice: Subnet,
    used: Mutex<BTreeSet<Ipv4Addr>>,
}

impl Addresses {
    /// A slice from which nothing was handed out but the first two addresses: of the network and of its gateway, which
    /// are the first slice's.
    pub fn new(slice: Subnet) -> Addresses {
        Addresses { slice, used: Mutex::default() }
    }

    /// The slice.
    pub fn slice(&self) -> Subnet {
        self.slice
    }

    /// Marks an address that a pod has already.
    pub fn adopt(&self, address: Ipv4Addr) {
        if self.slice.contains(address) {
            self.used.lock().insert(address);
        }
    }

    /// The lowest free address; `None` if there is none left.
    pub fn take(&self) -> Option<Ipv4Addr> {
        let mut used = self.used.lock();
        let first = u32::from(self.slice.first);
        let size = !mask(self.slice.prefix);
        // Without the network's address and its gateway's, and without the last: broadcast.
        let free = (2..size).map(|n| Ipv4Addr::from(first + n)).find(|address| !used.contains(address))?;
        used.insert(free);
        Some(free)
    }

    /// Gives an address back.
    pub fn free(&self, address: Ipv4Addr) {
        self.used.lock().remove(&address);
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
    }

    #[test]
    fn addresses_come_back() {
        let addresses = Addresses::new(subnet("10.88.1.0/24"));
        addresses.adopt(Ipv4Addr::new(10, 88, 1, 3));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 88, 1, 2)));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 88, 1, 4)));
        addresses.free(Ipv4Addr::new(10, 88, 1, 3));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 88, 1, 3)));
        let all: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(all.len(), 250, "2..=254 without the three that are out");
    }

    #[test]
    fn the_kernels_routes_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(parse_routes(table), vec![subnet("172.17.0.0/16")]);
    }
}
