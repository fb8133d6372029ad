//! What stands after `GET` in the first line of a request. The path of a probe is written by whoever may create pods, and the
//! agent's requests reach what those people may not: so whatever they write, it stays one word of one line.
//!
//! Source: `url.Parse` and `URL.EscapedPath` in Go's `net/url`, and `formatURL` in Kubernetes' `pkg/probe/http/request.go`.

/// The path and query of a request, from a path or a URL.
///
/// As upstream: of a URL only path and query count, what is no URL is a path as a whole, and the fragment is left out. Unlike
/// upstream, spaces and bytes beyond ASCII are escaped in the query, too, since servers refuse a line that holds them; and
/// `a:b`, which upstream never gets sent, is a path.
pub fn request_uri(text: &str) -> String {
    let (path, query) = parse(text).unwrap_or_else(|| (escaped(text.as_bytes(), is_plain), None));
    let slash = if path.starts_with('/') { "" } else { "/" };
    let query = query.map(|query| format!("?{}", escaped(query.as_bytes(), |byte| byte.is_ascii_graphic())));
    format!("{slash}{path}{}", query.unwrap_or_default())
}

/// The escaped path and the query as it is written; `None` for what is no URL.
fn parse(text: &str) -> Option<(String, Option<&str>)> {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    unescaped(fragment)?;
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let (text, query) = match text.split_once('?') {
        Some((text, query)) => (text, Some(query)),
        None => (text, None),
    };
    let (has_scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (true, rest),
        _ => (false, text),
    };
    let first = rest.split('/').next().unwrap_or_default();
    if !rest.starts_with('/') && (has_scheme || first.contains(':')) {
        return None;
    }
    let path = match rest.strip_prefix("//") {
        Some(behind) if has_scheme || !behind.starts_with('/') => {
            let (authority, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
            if !authority.bytes().all(is_of_authority) {
                return None;
            }
            path
        }
        _ => rest,
    };
    let meant = unescaped(path)?;
    let fine = path.bytes().all(|byte| is_plain(byte) || b"!'()*[]%".contains(&byte));
    Some((if fine { path.to_owned() } else { escaped(&meant, is_plain) }, query))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Whether a byte may stand in the name of a host, its port, or the name of a user before it.
fn is_of_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-_.~!$&'()*+,;=:@[]<>\"".contains(&byte)
}

/// Whether a byte of a path is written as it is.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

fn escaped(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if is_plain(*byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The bytes that an escaped text means; `None` where a `%` has no two digits after it.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next())? * 16 + digit(rest.next())?,
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_gos() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("healthz", "/healthz"),
            ("/a/b?c=d&e", "/a/b?c=d&e"),
            ("/a?", "/a?"),
            ("/a b", "/a%20b"),
            ("/ü", "/%C3%BC"),
            ("/a%20b%2Fc", "/a%20b%2Fc"),
            ("/a b%2Fc", "/a%20b/c"),
            ("/a(b)!*", "/a(b)!*"),
            ("/a#b", "/a"),
            ("/a?b#c d", "/a?b"),
            ("/a?b=c d", "/a?b=c%20d"),
            ("/a?b=ü", "/a?b=%C3%BC"),
            // No URLs: each is a path as a whole.
            ("/%zz?a#b", "/%25zz%3Fa%23b"),
            ("/a#%", "/a%23%25"),
            ("1:b", "/1:b"),
            ("/a\r\nX: y", "/a%0D%0AX:%20y"),
            ("/a?\r\n", "/a%3F%0D%0A"),
            ("/a\0\u{7f}", "/a%00%7F"),
            // Of a URL the path counts.
            ("http://other.example/x?y", "/x?y"),
            ("http://other.example", "/"),
            ("//other.example/x", "/x"),
            ("//a b/x", "//a%20b/x"),
            ("///x", "///x"),
        ];
        for (text, expected) in cases {
            assert_eq!(request_uri(text), expected, "text: {text:?}");
        }
    }
}
