//! YAML as upstream reads it: YAML 1.1 words for booleans, repeated keys told by line, then everything as JSON.
//!
//! Events come from `granit-parser`, the parser under `serde-saphyr`: serde's data model knows neither lines nor
//! whether a scalar was quoted, and both decide here.

mod write;

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::decode::Node;

pub use write::write;

/// Aliases may make a small document huge; no honest one needs more values than this.
const MOST_VALUES: usize = 500_000;
/// The deepest nesting that is read, as for JSON.
const DEPTH: usize = 120;

/// A document, and its repeated keys in upstream's words (`line 9: key "image" already set in map`).
#[derive(Debug)]
pub struct Document {
    /// The document's value. Maps are sorted by key and each key is there once (the last wins): upstream turns YAML
    /// into JSON by way of Go maps.
    pub node: Node<'static>,
    /// The repeated keys, in the order of the document.
    pub repeated: Vec<String>,
}

/// Reads the first document of a YAML text; further ones are ignored, as upstream does.
///
/// # Errors
/// `yaml: line N: ...` for what is no YAML.
pub fn parse(text: &str) -> Result<Document, String> {
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        repeated: Vec::new(),
        values: 0,
    };
    loop {
        let Some((event, span)) = reader.next()? else {
            return Ok(Document { node: Node::Null, repeated: Vec::new() });
        };
        match event {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::StreamEnd | Event::DocumentEnd => {
                return Ok(Document { node: Node::Null, repeated: Vec::new() });
            }
            event => {
                let node = reader.value(event, span, 0)?;
                return Ok(Document { node, repeated: reader.repeated });
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node<'static>>,
    repeated: Vec<String>,
    values: usize,
}

impl<'a> Reader<'a> {
    /// The next event that is no comment.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, String> {
        loop {
            match self.parser.next() {
                None => return Ok(None),
                Some(Err(error)) => return Err(describe(&error, self.text)),
                Some(Ok((event, span))) if is_data(&event) => return Ok(Some((event, span))),
                Some(Ok(_)) => {}
            }
        }
    }

    fn must(&mut self) -> Result<(Event<'a>, Span), String> {
        self.next()?.ok_or_else(|| "yaml: unexpected end of document".to_owned())
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node<'static>, String> {
        self.values += 1;
        if depth > DEPTH {
            return Err("yaml: exceeded max depth".into());
        }
        if self.values > MOST_VALUES {
            return Err("yaml: document contains excessive aliasing".into());
        }
        let (node, anchor) = match event {
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().unwrap_or(Node::Null);
                self.values += count(&node);
                (node, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| tag.suffix().to_owned());
                (scalar(&text, style, tag.as_deref()), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            _ => return Err(format!("yaml: line {}: did not find expected node content", span.start.line())),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node<'static>, String> {
        let mut items = Vec::new();
        loop {
            match self.must()? {
                (Event::SequenceEnd, _) => return Ok(Node::List(items)),
                (event, span) => items.push(self.value(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node<'static>, String> {
        let mut entries: Vec<(Cow<'static, str>, Node<'static>)> = Vec::new();
        let mut merged: Vec<(Cow<'static, str>, Node<'static>)> = Vec::new();
        loop {
            let (event, span) = self.must()?;
            if event == Event::MappingEnd {
                break;
            }
            let line = span.start.line();
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.value(event, span, depth + 1)?;
            let (event, span) = self.must()?;
            let value = self.value(event, span, depth + 1)?;
            if merge {
                merged.extend(merge_entries(value));
                continue;
            }
            let key = key_text(key).ok_or_else(|| format!("yaml: line {line}: invalid map key"))?;
            match entries.iter_mut().find(|(other, _)| *other == key) {
                Some((_, slot)) => {
                    self.repeated.push(format!("line {line}: key {key:?} already set in map"));
                    *slot = value;
                }
                None => entries.push((Cow::Owned(key), value)),
            }
        }
        for (key, value) in merged {
            if !entries.iter().any(|(other, _)| *other == key) {
                entries.push((key, value));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Node::Map(entries))
    }
}

/// Whether an event is part of the data: comments and names of anchors are not.
fn is_data(event: &Event<'_>) -> bool {
    use Event::{DocumentEnd, DocumentStart, MappingEnd, SequenceEnd, StreamEnd, StreamStart};
    let ends =
        matches!(event, StreamStart | StreamEnd | DocumentStart(..) | DocumentEnd | SequenceEnd | MappingEnd);
    ends || event.is_node()
}

fn count(node: &Node<'_>) -> usize {
    match node {
        Node::List(items) => items.iter().map(count).sum::<usize>() + 1,
        Node::Map(entries) => entries.iter().map(|(_, value)| count(value)).sum::<usize>() + 1,
        _ => 1,
    }
}

/// What `<<: *anchor` or `<<: [*a, *b]` brings in.
fn merge_entries(node: Node<'static>) -> Vec<(Cow<'static, str>, Node<'static>)> {
    match node {
        Node::Map(entries) => entries,
        Node::List(items) => items.into_iter().flat_map(merge_entries).collect(),
        _ => Vec::new(),
    }
}

/// Keys become strings, as upstream's conversion to JSON makes them.
fn key_text(key: Node<'static>) -> Option<String> {
    match key {
        Node::Text(text) | Node::Number(text) => Some(text.into_owned()),
        Node::Bool(value) => Some(value.to_string()),
        Node::Null => Some("null".into()),
        _ => None,
    }
}

/// A scalar: quoted ones are strings, plain ones what their spelling says in YAML 1.1.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>) -> Node<'static> {
    let owned = || Node::Text(Cow::Owned(text.to_owned()));
    if style != ScalarStyle::Plain || tag == Some("str") {
        return owned();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Node::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Node::Bool(false);
        }
        _ => {}
    }
    let first = text.as_bytes().first().copied().unwrap_or(b' ');
    if !first.is_ascii_digit() && !b"+-.".contains(&first) {
        return owned();
    }
    match plain_number(&text.replace('_', "")) {
        Some(number) => Node::Number(Cow::Owned(number)),
        None => owned(),
    }
}

/// The JSON spelling of a YAML 1.1 number.
fn plain_number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let based =
        |digits: &str, base| i64::from_str_radix(digits, base).ok().map(|value| format!("{sign}{value}"));
    if let Some(rest) = digits.strip_prefix("0b") {
        return based(rest, 2);
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return based(rest, 16);
    }
    if let Some(rest) = digits.strip_prefix("0o") {
        return based(rest, 8);
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        return based(&digits[1..], 8);
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() {
        return Some(format!("{sign}{digits}"));
    }
    let float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    let value: f64 = float.then(|| text.parse().ok())??;
    // Go writes a float without a fraction as an integer: `1e3` becomes `1000`.
    value.is_finite().then(|| {
        if value.fract() == 0.0 && value.abs() < 1e21 { format!("{value:.0}") } else { value.to_string() }
    })
}

/// The error in the words of Go's parser, where they are known.
fn describe(error: &ScanError, document: &str) -> String {
    let text = error.info();
    let line = error.marker().line();
    if text.contains("tab") {
        // The parser reports where the block began; people look for the line with the tab.
        let indented = |text: &str| text[..text.len() - text.trim_start().len()].contains('\t');
        let offset = document.lines().skip(line.saturating_sub(1)).position(indented).unwrap_or(0);
        return format!("yaml: line {}: found a tab character that violates indentation", line + offset);
    }
    let words = if text.contains("mapping values") {
        "mapping values are not allowed in this context"
    } else if text.contains("simple key") || text.contains("':'") {
        "could not find expected ':'"
    } else if text.contains("anchor") || text.contains("alias") {
        return format!("yaml: {text}");
    } else {
        "did not find expected node content"
    };
    format!("yaml: line {line}: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        parse(text).unwrap().node.into_value().to_string()
    }

    #[test]
    fn plain_scalars_read_as_yaml_1_1_and_quoted_ones_as_strings() {
        let text = "{a: yes, b: 'yes', c: 0777, d: 1_000, e: 1e3, f: .5, g: 2020-01-01, h: ~, i: 1.2.3, j: \"5\", k: -7, l: 0x1f}";
        let expected = r#"{"a":true,"b":"yes","c":511,"d":1000,"e":1000,"f":0.5,"g":"2020-01-01","h":null,"i":"1.2.3","j":"5","k":-7,"l":31}"#;
        assert_eq!(json(text), expected);
    }

    #[test]
    fn the_first_document_counts_and_keys_are_sorted() {
        assert_eq!(
            json("# hello\n---\nb: 1\na: [x, {d: 1, c: 2}]\n---\nc: 3\n"),
            r#"{"a":["x",{"c":2,"d":1}],"b":1}"#
        );
        assert_eq!(json(""), "null");
        assert_eq!(
            json("a: &l {k: v}\nb: *l\nc:\n  <<: *l\n  m: o\n"),
            r#"{"a":{"k":"v"},"b":{"k":"v"},"c":{"k":"v","m":"o"}}"#
        );
    }

    #[test]
    fn repeated_keys_and_errors_name_their_line() {
        let document = parse("kind: Pod\nspec:\n- name: c\n  image: a\n  image: b\n").unwrap();
        assert_eq!(document.repeated, ["line 5: key \"image\" already set in map"]);
        assert_eq!(parse("a: [").unwrap_err(), "yaml: line 1: did not find expected node content");
        assert_eq!(
            parse("a:\n  b: c\n\td: e\n").unwrap_err(),
            "yaml: line 3: found a tab character that violates indentation"
        );
    }
}
