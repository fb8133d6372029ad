//! Addresses and ranges of addresses, read as leniently as upstream reads them, and what is said about odd ones.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation/ip.go`, on the parsers of `k8s.io/utils/net`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address. Numbers with leading zeros are decimal, as they were in old versions of Go.
///
/// ```
/// use coracle_api::addresses::ip;
/// assert_eq!(ip("010.0.0.1"), "10.0.0.1".parse().ok());
/// assert_eq!(ip("10.0.0"), None);
/// ```
pub fn ip(text: &str) -> Option<IpAddr> {
    let (head, dotted) = text.rsplit_once(':').map_or(("", text), |(head, dotted)| (head, dotted));
    if !dotted.contains('.') || !dotted.is_ascii() {
        return text.parse().ok();
    }
    // Each number loses its leading zeros, but not its last digit.
    let plain = |part: &str| match part.len() {
        0 => String::new(),
        length => format!("{}{}", part[..length - 1].trim_start_matches('0'), &part[length - 1..]),
    };
    let numbers: Vec<String> = dotted.split('.').map(plain).collect();
    let colon = if text.contains(':') { ":" } else { "" };
    format!("{head}{colon}{}", numbers.join(".")).parse().ok()
}

/// A range: an address in it, and how many bits name the range.
pub fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = ip(address)?;
    let bits = length.parse().ok().filter(|_| length.bytes().all(|c| c.is_ascii_digit()))?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

/// The first address of a range.
fn network(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            Ipv4Addr::from(u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            Ipv6Addr::from(u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into()
        }
    }
}

/// Whether an address is an IPv4 address in the form of IPv6: `::ffff:10.0.0.1`.
fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// A warning about the address at the path `at`, if it is not written in its usual form.
pub fn ip_warning(at: &str, text: &str) -> Option<String> {
    let address = ip(text)?;
    if text.parse::<IpAddr>().is_err() || is_mapped(address) {
        let better = address.to_canonical();
        let why = "will be considered invalid in a future Kubernetes release";
        return Some(format!("{at}: non-standard IP address {text:?} {why}: use \"{better}\""));
    }
    let canonical = address.to_string();
    (address.is_ipv6() && canonical != text).then(|| {
        format!("{at}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})")
    })
}

/// Warnings about the range at the path `at`, where it is not written in its usual form.
pub fn cidr_warnings(at: &str, text: &str) -> Vec<String> {
    let Some((address, bits)) = cidr(text) else { return Vec::new() };
    let (first, all) = (network(address, bits), if address.is_ipv4() { 32 } else { 128 });
    let mut warnings = Vec::new();
    if first != address {
        let fix = format!("(should be \"{first}/{bits}\" or \"{address}/{all}\"?)");
        warnings.push(format!("{at}: CIDR value {text:?} is ambiguous in this context {fix}"));
    }
    let standard = text.split_once('/').is_some_and(|(address, length)| {
        address.parse::<IpAddr>().is_ok() && (length == "0" || !length.starts_with('0'))
    });
    if !standard || is_mapped(address) {
        let why = "will be considered invalid in a future Kubernetes release";
        warnings.push(format!("{at}: non-standard CIDR value {text:?} {why}: use \"{first}/{bits}\""));
    }
    let canonical = format!("{address}/{bits}");
    if warnings.is_empty() && address.is_ipv6() && canonical != text {
        let text = format!("IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})");
        warnings.push(format!("{at}: {text}"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_addresses_are_told() {
        let future = "will be considered invalid in a future Kubernetes release";
        let cases = [
            ("10.0.0.1", None),
            ("fd00::1", None),
            (
                "10.000.00.010",
                Some(format!("a: non-standard IP address \"10.000.00.010\" {future}: use \"10.0.0.10\"")),
            ),
            (
                "::ffff:1.2.3.4",
                Some(format!("a: non-standard IP address \"::ffff:1.2.3.4\" {future}: use \"1.2.3.4\"")),
            ),
            (
                "FD00::1",
                Some(
                    "a: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")".into(),
                ),
            ),
            ("nonsense", None),
        ];
        for (text, expected) in cases {
            assert_eq!(ip_warning("a", text), expected, "case: {text}");
        }
    }

    #[test]
    fn odd_ranges_are_told() {
        let cases: [(&str, &[&str]); 5] = [
            ("10.0.0.0/8", &[]),
            (
                "10.1.0.0/8",
                &[
                    "a: CIDR value \"10.1.0.0/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.0.0/32\"?)",
                ],
            ),
            (
                "010.0.0.0/8",
                &[
                    "a: non-standard CIDR value \"010.0.0.0/8\" will be considered invalid in a future Kubernetes release: use \"10.0.0.0/8\"",
                ],
            ),
            (
                "FD00::/8",
                &["a: IPv6 CIDR value \"FD00::/8\" should be in RFC 5952 canonical format (\"fd00::/8\")"],
            ),
            ("0.0.0.0/0", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(cidr_warnings("a", text), expected, "case: {text}");
        }
        assert_eq!((cidr("10.0.0.0/33"), cidr("10.0.0.0"), cidr("10.0.0.0/+8")), (None, None, None));
    }
}
