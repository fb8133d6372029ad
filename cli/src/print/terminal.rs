//! What servers and containers say, made harmless for the terminal of whoever looks.
//!
//! A terminal obeys escape sequences: one in an event's message could change its title, hide lines or type for its owner. So
//! everything that is printed passes here, and control characters are shown instead of sent. Only the logs of containers go out as
//! they are, as `kubectl logs` hands them on.
//!
//! Source: CVE-2021-25743; `WriteEscaped` in `k8s.io/cli-runtime/pkg/printers/terminal.go`.

use std::borrow::Cow;

/// A text in which control characters are shown: `^[` for escape, as upstream shows it. Ends of lines and tabulators stay.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\r' => shown.push_str("\\r"),
            '\x7f' => shown.push_str("^?"),
            // The letter whose key makes it together with Ctrl.
            '\0'..' ' if is_bad(c) => shown.extend(['^', char::from(c as u8 + b'@')]),
            _ if is_bad(c) => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The same for a cell of a table, which has one line: what follows the first is left out, and it is shown that there was more.
pub fn one_line(text: &str) -> Cow<'_, str> {
    match text.split_once(['\n', '\r', '\x0c']) {
        None if !text.contains('\t') => harmless(text),
        None => Cow::Owned(harmless(text).replace('\t', " ")),
        Some((first, _)) => Cow::Owned(format!("{}...", harmless(first).replace('\t', " "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        let cases = [
            ("plain, ümlaut, 日本\n\ttext", "plain, ümlaut, 日本\n\ttext", "plain, ümlaut, 日本..."),
            ("\x1b]0;PWN\x07\x1b[2J", "^[]0;PWN^G^[[2J", "^[]0;PWN^G^[[2J"),
            ("a\rb", "a\\rb", "a..."),
            ("\0\x08\x7f\u{9b}31m", "^@^H^?\\u{9b}31m", "^@^H^?\\u{9b}31m"),
            ("a\tb", "a\tb", "a b"),
            ("", "", ""),
        ];
        for (given, text, cell) in cases {
            assert_eq!(harmless(given), text, "{given:?}");
            assert_eq!(one_line(given), cell, "{given:?}");
        }
    }
}
