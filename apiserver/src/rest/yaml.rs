//! YAML as upstream writes it: keys sorted, two blanks, lists not indented, quotes only where they are needed, long
//! texts folded behind the eightieth column.
//!
//! Source: what `sigs.k8s.io/yaml` makes of libyaml's emitter.

use serde_json::Value;

/// Behind this column a text goes on in the next line.
const WIDTH: usize = 80;

/// The document for a tree.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => write_list(list, 0, &mut out),
        scalar => {
            write_scalar(scalar, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Writes the entries of a map. The first stands where the writer is, the others are indented.
fn write_map(map: &serde_json::Map<String, Value>, indent: usize, out: &mut String) {
    let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
    pairs.sort_unstable_by_key(|(name, _)| *name);
    for (index, (name, value)) in pairs.into_iter().enumerate() {
        if index > 0 {
            blanks(indent, out);
        }
        // A key stays on its line however long it is.
        out.push_str(&quoted(name).unwrap_or_else(|| name.clone()));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                blanks(indent + 2, out);
                write_map(inner, indent + 2, out);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                blanks(indent, out);
                write_list(inner, indent, out);
            }
            scalar => {
                out.push(' ');
                write_scalar(scalar, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn write_list(list: &[Value], indent: usize, out: &mut String) {
    for (index, value) in list.iter().enumerate() {
        if index > 0 {
            blanks(indent, out);
        }
        out.push_str("- ");
        match value {
            Value::Object(inner) if !inner.is_empty() => write_map(inner, indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => write_list(inner, indent + 2, out),
            scalar => {
                write_scalar(scalar, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn write_scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if text.contains('\n') && is_printable(text) => write_block(text, indent, out),
        Value::String(text) => fold(&quoted(text).unwrap_or_else(|| text.clone()), indent, out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// A text of several lines, as it is.
fn write_block(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    let ends = text.len() - text.trim_end_matches('\n').len();
    match ends {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            blanks(indent, out);
            out.push_str(line);
        }
    }
}

/// Writes a text, going on in a new line at the first single blank behind the eightieth column. Text in double quotes is left whole.
fn fold(text: &str, indent: usize, out: &mut String) {
    let mut column = out.chars().rev().take_while(|c| *c != '\n').count();
    let chars: Vec<char> = text.chars().collect();
    for (index, c) in chars.iter().enumerate() {
        let alone = *c == ' '
            && index > 0
            && chars.get(index + 1).is_some_and(|next| *next != ' ')
            && chars[index - 1] != ' ';
        if alone && column > WIDTH && !text.starts_with('"') {
            out.push('\n');
            blanks(indent, out);
            column = indent;
        } else {
            out.push(*c);
            column += 1;
        }
    }
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// The text in the quotes that it needs; nothing if it can stand as it is.
fn quoted(text: &str) -> Option<String> {
    if !is_printable(text) || text.contains('\n') || means_something(text) {
        return Some(doubly(text));
    }
    (!is_plain(text)).then(|| format!("'{}'", text.replace('\'', "''")))
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'))
}

fn doubly(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c if c.is_control() && u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c if !is_printable(c.encode_utf8(&mut [0; 4])) => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether the text, standing bare, would be read as something else: a switch, nothing, a number, a time.
fn means_something(text: &str) -> bool {
    const WORDS: [&str; 26] = [
        "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO",
        "false", "False", "FALSE", "off", "Off", "OFF", "~", "null", "Null", "NULL",
    ];
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text).replace('_', "");
    let number = || {
        let of = |prefix: &str, radix| {
            digits.strip_prefix(prefix).is_some_and(|d| u64::from_str_radix(d, radix).is_ok())
        };
        let decimal = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
            && digits.parse::<f64>().is_ok();
        decimal
            || of("0x", 16)
            || of("0b", 2)
            || of("0o", 8)
            || matches!(digits.as_str(), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
    };
    text.is_empty() || WORDS.contains(&text) || text == "<<" || number() || is_time(text)
}

fn is_time(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let whole = |part: &&str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3
        && parts[0].len() == 4
        && parts.iter().all(|part| whole(&part))
        && (text.len() == date.len() || text.parse::<jiff::Timestamp>().is_ok())
}

/// Whether the text can stand bare in a block.
fn is_plain(text: &str) -> bool {
    let mut before = ' ';
    let chars: Vec<char> = text.chars().collect();
    for (index, c) in chars.iter().enumerate() {
        let spaced = chars.get(index + 1).is_none_or(|next| *next == ' ');
        let bad = match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`'
                if index == 0 =>
            {
                true
            }
            '?' | '-' if index == 0 => spaced,
            ':' => spaced,
            '#' => before == ' ',
            _ => false,
        };
        if bad {
            return false;
        }
        before = *c;
    }
    !text.starts_with(' ') && !text.ends_with(' ') && !text.starts_with("---") && !text.starts_with("...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_quoted_as_they_need() {
        let cases = [
            ("plain", "plain"),
            ("found '=', expected: identifier", "'found ''='', expected: identifier'"),
            ("secrets \"nope\" not found", "secrets \"nope\" not found"),
            ("12", "\"12\""),
            ("1.5e3", "\"1.5e3\""),
            ("0x1F", "\"0x1F\""),
            ("yes", "\"yes\""),
            ("", "\"\""),
            ("2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\""),
            ("1.2.3.4", "1.2.3.4"),
            ("a: b", "'a: b'"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("*", "'*'"),
            ("tab\there", "\"tab\\there\""),
            ("a #b", "'a #b'"),
        ];
        for (text, expected) in cases {
            assert_eq!(emit(&json!(text)), format!("{expected}\n"), "case: {text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let trees = [
            json!({"b": [1, "x", {"k": [], "j": {}}, [true, [null]]], "a": {"z": "l1\nl2\n", "y": "no end\nline"}}),
            json!({"long": "word ".repeat(60).trim_end(), "odd key: ": "  lead", "n": -1.5, "multi": "\n\na\n\n\n"}),
            json!([]),
            json!([{"a": 1, "b": [2]}, "c"]),
        ];
        for tree in trees {
            let text = emit(&tree);
            let back: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(back, tree, "{text}");
        }
    }
}
