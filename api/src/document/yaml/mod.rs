//! YAML as upstream reads it: YAML 1.1 words for booleans, repeated keys told by line, then everything as JSON.
//!
//! ```text
//!  events --build--> nodes, shared where aliases share them --measure--> small enough? --expand--> Raw
//! ```
//! Events come from `granit-parser`, the parser under `serde-saphyr`: serde's data model knows neither lines nor
//! whether a scalar was quoted, and both decide here.

mod graph;
mod scalar;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::{DEPTH, Fault, Limits, Raw};
use graph::{Graph, Id};

pub use write::write;

/// A document, and its repeated keys in upstream's words (`line 9: key "image" already set in map`).
#[derive(Debug)]
pub struct Document {
    /// The document's value. Maps are sorted by key and each key is there once (the last wins): upstream turns YAML
    /// into JSON by way of Go maps.
    pub value: Raw<'static>,
    /// The repeated keys, in the order of the document.
    pub repeated: Vec<String>,
}

/// Reads the first document of a request's body; further ones are ignored, as upstream does.
///
/// # Errors
/// `yaml: line N: ...` for what is no YAML, or what is too much.
pub fn parse(text: &str) -> Result<Document, Fault> {
    let empty = Document { value: Raw::Null, repeated: Vec::new() };
    Ok(documents(text, Limits::REQUEST).next().transpose()?.unwrap_or(empty))
}

/// Reads all documents of a stream, one after the other. An empty one is null.
///
/// After an error there are no more.
pub fn documents(text: &str, limits: Limits) -> impl Iterator<Item = Result<Document, Fault>> {
    let mut stream = Some(Stream { text, parser: Parser::new_from_str(text) });
    std::iter::from_fn(move || {
        let document = stream.as_mut()?.document(limits).transpose();
        if !matches!(document, Some(Ok(_))) {
            stream = None;
        }
        document
    })
}

struct Stream<'a> {
    text: &'a str,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
}

impl<'a> Stream<'a> {
    /// The next event that is part of the data: comments are not.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Fault> {
        loop {
            match self.parser.next() {
                None => return Ok(None),
                Some(Err(error)) => return Err(describe(&error, self.text).into()),
                Some(Ok((event, span))) if is_data(&event) => return Ok(Some((event, span))),
                Some(Ok(_)) => {}
            }
        }
    }

    fn document(&mut self, limits: Limits) -> Result<Option<Document>, Fault> {
        let reader = Reader {
            limits,
            stream: self,
            graph: Graph::default(),
            anchors: HashMap::new(),
            repeated: Vec::new(),
            merged: 0,
        };
        loop {
            let Some((event, span)) = reader.stream.next()? else { return Ok(None) };
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => return Ok(None),
                Event::DocumentEnd => {
                    return Ok(Some(Document { value: Raw::Null, repeated: Vec::new() }));
                }
                event => return reader.whole(event, span).map(Some),
            }
        }
    }
}

struct Reader<'s, 'a> {
    limits: Limits,
    stream: &'s mut Stream<'a>,
    graph: Graph,
    anchors: HashMap<usize, Id>,
    repeated: Vec<(usize, String)>,
    /// Entries that were looked at because of `<<`.
    merged: usize,
}

impl<'a> Reader<'_, 'a> {
    /// The document that begins with this event, up to its end.
    fn whole(mut self, event: Event<'a>, span: Span) -> Result<Document, Fault> {
        let root = self.value(event, span, 0)?;
        while self.must()?.0 != Event::DocumentEnd {}
        self.repeated.sort_by_key(|(line, _)| *line);
        let value = self.graph.expand(root, self.limits)?;
        Ok(Document { value, repeated: self.repeated.into_iter().map(|(_, text)| text).collect() })
    }

    fn must(&mut self) -> Result<(Event<'a>, Span), Fault> {
        self.stream.next()?.ok_or_else(|| "yaml: unexpected end of document".into())
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Id, Fault> {
        if depth > DEPTH {
            return Err("yaml: exceeded max depth".into());
        }
        let line = span.start.line();
        let (id, anchor) = match event {
            Event::Alias(id) => {
                let unknown = || Fault::Malformed(format!("yaml: line {line}: unknown anchor"));
                return self.anchors.get(&id).copied().ok_or_else(unknown);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = match &tag {
                    Some(tag) => scalar::tagged(&text, tag.suffix())
                        .map_err(|error| Fault::Malformed(format!("yaml: line {line}: {error}")))?,
                    None if style == ScalarStyle::Plain => scalar::plain(&text)?,
                    None => Raw::Text(Cow::Owned(text.into_owned())),
                };
                (self.graph.scalar(value, self.limits)?, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let items = self.list(depth)?;
                (self.graph.list(items, self.limits)?, anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                let entries = self.map(depth)?;
                (self.graph.map(entries, self.limits)?, anchor)
            }
            _ => return Err(format!("yaml: line {line}: did not find expected node content").into()),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        Ok(id)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Id>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.must()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.value(event, span, depth + 1)?),
            }
        }
    }

    /// The entries of a map, sorted by key, each key once.
    fn map(&mut self, depth: usize) -> Result<Vec<(String, Id)>, Fault> {
        let mut written: Vec<(String, usize, Id)> = Vec::new();
        let mut merged: Vec<Id> = Vec::new();
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
                merged.push(value);
                continue;
            }
            let key = self
                .graph
                .key(key)
                .ok_or_else(|| Fault::from(format!("yaml: line {line}: invalid map key")))?;
            written.push((key, line, value));
        }
        // Sorting is stable: equal keys stand in the order of the document, and the last one counts.
        written.sort_by(|a, b| a.0.cmp(&b.0));
        let mut entries: Vec<(String, Id)> = Vec::with_capacity(written.len());
        for (key, line, value) in written {
            match entries.last_mut() {
                Some((last, slot)) if *last == key => {
                    self.repeated.push((line, format!("line {line}: key {key:?} already set in map")));
                    *slot = value;
                }
                _ => entries.push((key, value)),
            }
        }
        if merged.is_empty() { Ok(entries) } else { self.merge(entries, &merged) }
    }

    /// Adds what `<<: *anchor` or `<<: [*a, *b]` brings in: only keys that are not there yet, of several the first.
    fn merge(&mut self, entries: Vec<(String, Id)>, merged: &[Id]) -> Result<Vec<(String, Id)>, Fault> {
        let mut all: std::collections::BTreeMap<String, Id> = entries.into_iter().collect();
        let mut sources: Vec<Id> = merged.iter().rev().copied().collect();
        while let Some(source) = sources.pop() {
            sources.extend(self.graph.items(source).iter().rev());
            let found = self.graph.entries(source);
            self.merged += found.len() + 1;
            if self.merged > self.limits.values {
                return Err(graph::excessive());
            }
            for (key, value) in found {
                if !all.contains_key(key) {
                    all.insert(key.clone(), *value);
                }
            }
        }
        Ok(all.into_iter().collect())
    }
}

/// Whether an event is part of the data: comments and names of anchors are not.
fn is_data(event: &Event<'_>) -> bool {
    use Event::{DocumentEnd, DocumentStart, MappingEnd, SequenceEnd, StreamEnd, StreamStart};
    let ends =
        matches!(event, StreamStart | StreamEnd | DocumentStart(..) | DocumentEnd | SequenceEnd | MappingEnd);
    ends || event.is_node()
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
        parse(text).unwrap().value.into_value().to_string()
    }

    #[test]
    fn plain_scalars_read_as_yaml_1_1_and_quoted_ones_as_strings() {
        let text = "{a: yes, b: 'yes', c: 0777, d: 1_000, e: 1e3, f: .5, g: 2020-01-01, h: ~, i: 1.2.3, j: \"5\", k: -7, l: 0x1f, m: 08}";
        let expected = r#"{"a":true,"b":"yes","c":511,"d":1000,"e":1000,"f":0.5,"g":"2020-01-01","h":null,"i":"1.2.3","j":"5","k":-7,"l":31,"m":8}"#;
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
        assert_eq!(
            json("a: &l {k: 1}\nb: &m {k: 2, p: 3}\nc:\n  <<: [*l, *m]\n  z: 4\n"),
            r#"{"a":{"k":1},"b":{"k":2,"p":3},"c":{"k":1,"p":3,"z":4}}"#
        );
    }

    #[test]
    fn streams_are_read_document_by_document() {
        let all = |text| -> Vec<String> {
            documents(text, Limits::of_file(text))
                .map(|document| document.map_or_else(|e| e.to_string(), |d| d.value.into_value().to_string()))
                .collect()
        };
        assert_eq!(all("a: 1\n---\n---\n# nothing\n---\n- 0444\n"), [r#"{"a":1}"#, "null", "null", "[292]"]);
        assert_eq!(all("{\"a\": 1}\n"), [r#"{"a":1}"#]);
        assert!(all("").is_empty());
        assert_eq!(
            all("a: 1\n---\nb: [\n"),
            [r#"{"a":1}"#, "yaml: line 3: did not find expected node content"]
        );
        // Anchors are a document's own.
        assert_eq!(all("a: &x 1\n---\nb: *x\n").len(), 2);
        assert!(all("a: &x 1\n---\nb: *x\n")[1].starts_with("yaml: "));
    }

    #[test]
    fn repeated_keys_and_errors_name_their_line() {
        let document = parse("kind: Pod\nspec:\n- name: c\n  image: a\n  image: b\nkind: Node\n").unwrap();
        assert_eq!(
            document.repeated,
            ["line 5: key \"image\" already set in map", "line 6: key \"kind\" already set in map"]
        );
        let fault = |text| parse(text).unwrap_err().to_string();
        assert_eq!(fault("a: ["), "yaml: line 1: did not find expected node content");
        assert_eq!(
            fault("a:\n  b: c\n\td: e\n"),
            "yaml: line 3: found a tab character that violates indentation"
        );
        assert_eq!(fault("a: !!int five\n"), "yaml: line 1: cannot decode !!str `five` as a !!int");
    }

    #[test]
    fn aliases_that_would_make_a_document_huge_are_refused() {
        let nested = |levels: usize| -> String {
            let level = |n: usize| match n {
                0 => "a0: &a0 [x]\n".to_owned(),
                n => format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1),
            };
            (0..levels).map(level).collect()
        };
        assert!(parse(&nested(5)).is_ok());
        let words = format!("a: &a {}\nb: [{}0]\n", "x".repeat(1_000_000), "*a, ".repeat(100));
        let maps = format!("a: &a {{x: {{y: z}}}}\nb: [{}0]\n", "*a, ".repeat(200_000));
        let keys: String = (0..2000).map(|n| format!("k{n}: 1, ")).collect();
        let merges = format!("a: &a {{{keys}}}\nb: {{<<: [{}*a]}}\n", "*a, ".repeat(2000));
        for text in [nested(40), words, maps, merges] {
            assert_eq!(parse(&text).unwrap_err().to_string(), "yaml: document contains excessive aliasing");
        }
        // Deeper than any document may be nested, by way of aliases.
        let deep: String = (0..130)
            .map(|n| match n {
                0 => "a0: &a0 [x]\n".to_owned(),
                n => format!("a{n}: &a{n} [*a{}]\n", n - 1),
            })
            .collect();
        assert_eq!(parse(&deep).unwrap_err().to_string(), "yaml: exceeded max depth");
    }
}
