//! The formats of texts that are checked; all others are only told to clients.
//!
//! Source: `supportedVersionedFormats` in `k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go`, and what checks them in
//! `k8s.io/kube-openapi/pkg/validation/strfmt` and `github.com/asaskevich/govalidator`.

use std::net::IpAddr;
use std::sync::LazyLock;

use jiff::civil::Date;
use regex::Regex;

use crate::names;
use crate::quantity::Quantity;

/// A format, and how it is distinguished from others.
#[derive(Clone, Debug)]
pub struct Format {
    /// As the schema writes it.
    pub name: String,
    check: fn(&str) -> bool,
}

impl Format {
    /// The format of a text that a schema names; nothing for one that is not checked. Dashes in a name do not count.
    pub fn of_text(name: &str) -> Option<Format> {
        let plain = name.replace('-', "");
        let check: fn(&str) -> bool = match plain.as_str() {
            "bsonobjectid" => |text| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
            "uri" => is_request_uri,
            "email" => is_email,
            "hostname" => is_hostname,
            "ipv4" => |text| text.contains('.') && text.parse::<IpAddr>().is_ok(),
            "ipv6" => |text| text.contains(':') && text.parse::<IpAddr>().is_ok(),
            "cidr" => is_cidr,
            "mac" => is_mac,
            "uuid" => |text| is_uuid(text, None),
            "uuid3" => |text| is_uuid(text, Some('3')),
            "uuid4" => |text| is_uuid(text, Some('4')),
            "uuid5" => |text| is_uuid(text, Some('5')),
            "isbn" => |text| is_isbn10(text) || is_isbn13(text),
            "isbn10" => is_isbn10,
            "isbn13" => is_isbn13,
            "creditcard" => is_credit_card,
            "ssn" => |text| text.len() == 11 && matches(&SSN, text),
            "hexcolor" => |text| matches(&HEX_COLOR, text),
            "rgbcolor" => |text| matches(&RGB_COLOR, text),
            "byte" => is_base64,
            "password" => |_| true,
            "date" => is_date,
            "datetime" => is_date_time,
            "duration" => is_duration,
            "quantity" => |text| text.parse::<Quantity>().is_ok(),
            "k8sshortname" => |text| names::dns_label(text).is_empty(),
            "k8slongname" => |text| names::dns_subdomain(text).is_empty(),
            _ => return None,
        };
        Some(Format { name: name.to_owned(), check })
    }

    /// Whether a text has it.
    pub fn fits(&self, text: &str) -> bool {
        (self.check)(text)
    }
}

type Pattern = LazyLock<Option<Regex>>;

/// A pattern of this file. That each of them compiles is what the tests show.
macro_rules! pattern {
    ($($name:ident = $text:expr;)+) => {$(
        static $name: Pattern = LazyLock::new(|| Regex::new($text).ok());
    )+};
}

pattern! {
    SSN = "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    HEX_COLOR = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*(,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*){2}\)$";
    CARD = "^(4[0-9]{12}([0-9]{3})?|5[1-5][0-9]{14}|6(011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(0[0-5]|[68][0-9])[0-9]{11}|(2131|1800|35[0-9]{3})[0-9]{11})$";
    CLOCK = "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](.[0-9]+)?([zZ]|[+-][0-9]{2}:[0-9]{2})$";
    GO_DURATION = "^[-+]?(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$";
    DURATION = r"^\s*([0-9]+\s*[A-Za-zµ]+\s*)+$";
    LETTER = r"^[\p{L}\p{S}]$";
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// What can stand in the first line of a request: a path, or a whole URI.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b.is_ascii_control()) || !has_whole_codes(text) {
        return false;
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let scheme = text.find(|c| !letter(c)).filter(|end| text[*end..].starts_with(':'));
    let rest = match scheme {
        Some(end) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => &text[end + 1..],
        Some(_) => return false,
        None if text.starts_with('/') || text == "*" => text,
        None => return false,
    };
    match rest.strip_prefix("//").filter(|_| scheme.is_some()) {
        Some(rest) => is_authority(rest.split(['/', '?']).next().unwrap_or_default()),
        None => true,
    }
}

/// Every `%` has two hexadecimal digits after it.
fn has_whole_codes(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|rest| rest.as_bytes().get(..2).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit)))
}

/// `user:password@host:port`.
fn is_authority(text: &str) -> bool {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port),
        None if host.starts_with('[') => return false,
        None => host.split_at(host.rfind(':').unwrap_or(host.len())),
    };
    let fine = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:%<>\"".contains(c);
    let digits = port.strip_prefix(':').unwrap_or(port);
    host.chars().all(fine)
        && (port.is_empty() || port.starts_with(':'))
        && digits.bytes().all(|b| b.is_ascii_digit())
}

/// An address, or a name and an address in angle brackets.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((_, address)) => address.trim(),
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.len() > 2 && domain.starts_with('[') && domain.ends_with(']');
    (quoted || local.split('.').all(atom)) && (literal || domain.split('.').all(atom))
}

/// A name with or without dots. The last part of one with dots has two letters or more.
fn is_hostname(text: &str) -> bool {
    let letter = |c: char| {
        c.is_ascii_alphanumeric() || (!c.is_ascii() && matches(&LETTER, c.encode_utf8(&mut [0; 4])))
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|c| c == '-' || letter(c))
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let Some((head, last)) = text.rsplit_once('.') else {
        // Upstream's pattern lets a dash stand in the second place only.
        let rest = text.strip_prefix(letter).unwrap_or_default();
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        return text.len() <= 63 && text.starts_with(letter) && rest.chars().all(letter);
    };
    let ends_well = label(last) && !last.contains("--") && last.chars().count() > 1;
    text.len() <= 255 && head.split('.').all(label) && ends_well
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.bytes().all(|b| b.is_ascii_digit()) && length.parse::<u16>().is_ok_and(|length| length <= most)
}

/// 6, 8 or 20 bytes, with colons or dashes between bytes or dots between pairs of them.
fn is_mac(text: &str) -> bool {
    let hex =
        |digits: usize| move |part: &str| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
    let written = |between: char, digits: usize, counts: [usize; 3]| {
        counts.contains(&text.split(between).count()) && text.split(between).all(hex(digits))
    };
    written(':', 2, [6, 8, 20]) || written('-', 2, [6, 8, 20]) || written('.', 4, [3, 4, 10])
}

/// Five groups, the dashes between them or some of them left out. Some versions also say how the fourth begins.
fn is_uuid(text: &str, version: Option<char>) -> bool {
    let mut rest = text;
    for (group, digits) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if group > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((part, behind)) = rest.split_at_checked(digits) else { return false };
        let fits = match (group, version) {
            (2, Some(version)) => part.starts_with(version),
            (3, Some('4' | '5')) => part.starts_with(['8', '9', 'a', 'b', 'A', 'B']),
            _ => true,
        };
        if !fits || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

/// What stands in a number that people write with blanks and dashes.
fn digits_of(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = digits_of(text);
    let value = |(at, c): (usize, char)| match c {
        'X' if at == 9 => Some(10),
        c => c.to_digit(10),
    };
    let Some(values) = digits.chars().enumerate().map(value).collect::<Option<Vec<u32>>>() else {
        return false;
    };
    values.len() == 10
        && values.iter().zip(1..).map(|(value, factor)| value * factor).sum::<u32>().is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits_of(text);
    let Some(values) = digits.chars().map(|c| c.to_digit(10)).collect::<Option<Vec<u32>>>() else {
        return false;
    };
    let weighted = values.iter().zip([1, 3].into_iter().cycle()).map(|(value, factor)| value * factor);
    values.len() == 13 && weighted.sum::<u32>().is_multiple_of(10)
}

/// Anything but digits is left out, the number is one of a known company, and its last digit is the right one.
fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |(at, digit): (usize, u32)| match (at % 2, digit * 2) {
        (0, _) => digit,
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    let sum: u32 = digits.chars().rev().filter_map(|c| c.to_digit(10)).enumerate().map(doubled).sum();
    matches(&CARD, &digits) && sum.is_multiple_of(10)
}

/// Whole groups of four letters, the last one filled up; not nothing.
fn is_base64(text: &str) -> bool {
    let data = text.trim_end_matches('=');
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    !data.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - data.len() <= 2
        && data.bytes().all(letter)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

/// A date and a time of day with its zone, as RFC 3339 has them.
fn is_date_time(text: &str) -> bool {
    text.split_once(['t', 'T']).is_some_and(|(date, time)| is_date(date) && matches(&CLOCK, time))
}

/// As Go writes it, or with units in words: `3 days 4 hr`. It is enough that one unit is known.
fn is_duration(text: &str) -> bool {
    const UNITS: &str = "ns us µs ms s m h d w hr wk";
    const BEGINNINGS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let known = |word: &str| {
        let word = word.to_lowercase();
        names::is_one_of(&word, UNITS) || BEGINNINGS.iter().any(|unit| word.starts_with(unit))
    };
    let words =
        || text.split(|c: char| c.is_ascii_digit() || c.is_whitespace()).filter(|word| !word.is_empty());
    matches(&GO_DURATION, text) || (matches(&DURATION, text) && words().any(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two of each come from a real API server's answers.
    #[test]
    fn formats_are_told_from_others() {
        let cases: [(&str, &[&str], &[&str]); 27] = [
            ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["5", "507f1f77bcf86cd79943901g"]),
            (
                "uri",
                &["https://example.com/x", "/a b", "mailto:x", "*", "http://u:p@h:80/?q", "http://[::1]:1/"],
                &["::no", "", "a", "1a:b", "/%zz", "http://h:x/", "http://a b/", "http://[::1/"],
            ),
            (
                "email",
                &["a@example.com", "A B <a@b>", "\"a b\"@c"],
                &["not-mail", "a@", "@b", "a b@c", "a..b@c"],
            ),
            (
                "hostname",
                &["a.example.com", "a-b", "é.example", "1.de", "a--b.de", "my-host.de"],
                &["a b", "", "-a", "a.b", "a_b.de", "a.-b.de", "a..de", "my-host"],
            ),
            ("ipv4", &["10.0.0.1"], &["10.0.0.256", "::1", "10.0.0.01"]),
            ("ipv6", &["::1", "::ffff:1.2.3.4"], &["10.0.0.1", "fe80::1%eth0"]),
            ("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8"]),
            (
                "mac",
                &["00:11:22:33:44:55", "00-11-22-33-44-55", "0011.2233.4455"],
                &["00:11", "00:11:22:33:44-55"],
            ),
            (
                "uuid",
                &["123e4567-e89b-12d3-a456-426614174000", "123E4567e89b12d3a456426614174000"],
                &["123", "123e4567-e89b-12d3-a456-42661417400g", "123e4567-e89b-12d3-a456-4266141740001"],
            ),
            ("uuid3", &["123e4567-e89b-32d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"]),
            ("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-42d3-c456-426614174000"]),
            ("uuid5", &["123e4567-e89b-52d3-8456-426614174000"], &["123e4567-e89b-42d3-a456-426614174000"]),
            (
                "isbn",
                &["0321751043", "978-0321751041", "080442957X"],
                &["12", "0321751044", "978-0321751042"],
            ),
            ("isbn10", &["0321751043"], &["978-0321751041"]),
            ("isbn13", &["978-0321751041"], &["0321751043"]),
            ("creditcard", &["4111111111111111", "4111-1111 1111.1111"], &["1234", "4111111111111112"]),
            ("ssn", &["111-22-3333"], &["111223333", "111-22-333x"]),
            ("hexcolor", &["#ffffff", "fff"], &["white", "#ffff"]),
            ("rgbcolor", &["rgb(0, 128,255)"], &["rgb(0,0)", "rgb(0,0,256)"]),
            ("byte", &["YWJj", "YQ=="], &["", "YQ", "YQ=", "Y===", "Y!=="]),
            ("password", &["", "x"], &[]),
            ("date", &["2020-01-02"], &["2020-13-02", "2020-1-2", "2020-01-02T00:00:00Z"]),
            (
                "date-time",
                &["2020-01-02T03:04:05Z", "2020-01-02t03:04:05.678+01:00"],
                &["yesterday", "2020-01-02", "2020-01-02T24:00:00Z", "2020-01-02T03:04:05"],
            ),
            (
                "duration",
                &["1h30m", "0", "-1.5s", "22 ns", "3 days 4 hr", "5µs"],
                &["", "1", "h", "1 parsec", "1.5 days"],
            ),
            ("quantity", &["10Gi"], &["10Q"]),
            ("k8s-short-name", &["abc"], &["Abc", "a.b"]),
            ("k8s-long-name", &["a.b"], &["A.b", "a..b"]),
        ];
        for (name, good, bad) in cases {
            let format = Format::of_text(name).unwrap_or_else(|| panic!("{name} is a format"));
            for text in good {
                assert!(format.fits(text), "{text:?} is of format {name}");
            }
            for text in bad {
                assert!(!format.fits(text), "{text:?} is not of format {name}");
            }
        }
        assert!(Format::of_text("int32").is_none() && Format::of_text("color").is_none());
    }
}
