//! Protobuf request bodies: an envelope around a message, read by the schema and its table of field numbers.
//!
//! The message becomes the same tree that JSON would give and is then shaped like it: one road for all formats.

mod wire;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::decode::{Node, Target, Tongue, check_type, shape, unrecognized, unusable};
use crate::schema::{Field, Schema, Shape, Struct, Text};
use crate::status::Status;
use wire::{Wire, field};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// The deepest nesting that is read, as for JSON.
const DEPTH: usize = 100;

/// Reads a body of `application/vnd.kubernetes.protobuf`.
///
/// # Errors
/// 400 for what is no envelope, not of the target's type, or malformed.
pub fn decode(target: &Target<'_>, body: &[u8]) -> Result<Value, Status> {
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        let error = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
        return Err(unrecognized(target, error, body));
    };
    let (api_version, kind, raw) = unwrap(envelope).map_err(|error| unrecognized(target, error, body))?;
    check_type(target, &api_version, &kind)?;
    let node = message(raw, target.schema, 0).map_err(|error| unusable(target, None, error))?;
    let (value, mut problems) = shape(node, target.schema, Tongue::Json);
    match problems.error() {
        Some(error) => Err(unusable(target, None, &error)),
        None => Ok(value),
    }
}

/// `runtime.Unknown`: the type, and the message itself.
fn unwrap(mut bytes: &[u8]) -> Result<(String, String, &[u8]), &'static str> {
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    while let Some((number, wire)) = field(&mut bytes)? {
        match (number, wire) {
            (1, Wire::Piece(mut meta)) => {
                while let Some((number, wire)) = field(&mut meta)? {
                    match (number, wire) {
                        (1, Wire::Piece(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Piece(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Piece(piece)) => raw = piece,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

type Entries<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

fn message<'a>(bytes: &'a [u8], schema: &Schema, depth: usize) -> Result<Node<'a>, &'static str> {
    if depth > DEPTH {
        return Err("exceeded max depth");
    }
    let Shape::Struct(fields) = &schema.shape else { return Ok(self_read(bytes, schema)) };
    let mut entries = Vec::new();
    struct_fields(bytes, fields, None, &mut entries, depth)?;
    Ok(Node::Map(entries))
}

/// The fields of one struct; `inside` is the embedded struct that is being read, whose fields JSON does not nest.
fn struct_fields<'a>(
    mut bytes: &'a [u8],
    fields: &Struct,
    inside: Option<&'static str>,
    entries: &mut Entries<'a>,
    depth: usize,
) -> Result<(), &'static str> {
    while let Some((number, wire)) = field(&mut bytes)? {
        let own = |f: &&Field| f.embedded.map(|(name, _)| name) == inside && f.number == number && number > 0;
        if let Some(field) = fields.fields.iter().find(own) {
            add(field, wire, entries, depth)?;
            continue;
        }
        let embedded =
            fields.fields.iter().filter_map(|f| f.embedded).find(|(_, at)| inside.is_none() && *at == number);
        if let (Some((name, _)), Wire::Piece(piece)) = (embedded, wire) {
            struct_fields(piece, fields, Some(name), entries, depth + 1)?;
        }
        // Anything else is a field that this version does not know: dropped, as protobuf asks.
    }
    Ok(())
}

fn add<'a>(
    field: &Field,
    wire: Wire<'a>,
    entries: &mut Entries<'a>,
    depth: usize,
) -> Result<(), &'static str> {
    let schema = field.link.get();
    match &schema.shape {
        Shape::List { items, .. } => {
            let item = value(wire, items.get(), depth)?;
            match entries.iter_mut().find(|(key, _)| key == field.name) {
                Some((_, Node::List(list))) => list.push(item),
                _ => entries.push((Cow::Borrowed(field.name), Node::List(vec![item]))),
            }
        }
        Shape::Map { values } => {
            let Wire::Piece(piece) = wire else { return Ok(()) };
            let entry = map_entry(piece, values.get(), depth)?;
            match entries.iter_mut().find(|(key, _)| key == field.name) {
                Some((_, Node::Map(map))) => map.push(entry),
                _ => entries.push((Cow::Borrowed(field.name), Node::Map(vec![entry]))),
            }
        }
        _ => {
            let node = value(wire, schema, depth)?;
            entries.retain(|(key, _)| key != field.name);
            entries.push((Cow::Borrowed(field.name), node));
        }
    }
    Ok(())
}

/// One entry of a map: a message of key and value.
fn map_entry<'a>(
    mut bytes: &'a [u8],
    values: &Schema,
    depth: usize,
) -> Result<(Cow<'a, str>, Node<'a>), &'static str> {
    let (mut key, mut found) = (Cow::Borrowed(""), None);
    while let Some((number, wire)) = field(&mut bytes)? {
        match (number, wire) {
            (1, Wire::Piece(text)) => key = String::from_utf8_lossy(text),
            (2, wire) => found = Some(value(wire, values, depth)?),
            _ => {}
        }
    }
    Ok((key, found.unwrap_or(Node::Null)))
}

fn value<'a>(wire: Wire<'a>, schema: &Schema, depth: usize) -> Result<Node<'a>, &'static str> {
    Ok(match (&schema.shape, wire) {
        (Shape::Boolean, Wire::Number(number)) => Node::Bool(number != 0),
        (Shape::Integer { bits: 32 }, Wire::Number(number)) => {
            // Negative numbers of 32 bits are written with 64.
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
            let number = number as i32;
            Node::Number(number.to_string().into())
        }
        (Shape::Integer { .. }, Wire::Number(number)) => {
            #[allow(clippy::cast_possible_wrap)]
            let number = number as i64;
            Node::Number(number.to_string().into())
        }
        (Shape::Number, Wire::Eight(bytes)) => Node::Number(f64::from_le_bytes(bytes).to_string().into()),
        (Shape::Text(Text::Plain), Wire::Piece(text)) => Node::Text(String::from_utf8_lossy(text)),
        (Shape::Text(Text::Bytes), Wire::Piece(bytes)) => Node::Text(STANDARD.encode(bytes).into()),
        (Shape::List { items, .. }, Wire::Piece(bytes)) => listed(bytes, items.get(), depth)?,
        (_, Wire::Piece(bytes)) => message(bytes, schema, depth + 1)?,
        _ => return Err("proto: wrong wireType"),
    })
}

/// A list inside a map, such as `extra` of a user: a message whose first field repeats.
fn listed<'a>(mut bytes: &'a [u8], items: &Schema, depth: usize) -> Result<Node<'a>, &'static str> {
    let mut list = Vec::new();
    while let Some((number, wire)) = field(&mut bytes)? {
        if number == 1 {
            list.push(value(wire, items, depth + 1)?);
        }
    }
    Ok(Node::List(list))
}

/// Types that JSON writes as a scalar, or as it finds them.
fn self_read<'a>(mut bytes: &'a [u8], schema: &Schema) -> Node<'a> {
    let (mut numbers, mut texts) = ([0u64; 4], [None, None, None, None::<&'a [u8]>]);
    while let Ok(Some((number, wire))) = field(&mut bytes) {
        let at = usize::try_from(number).unwrap_or(0).min(3);
        match wire {
            Wire::Number(number) => numbers[at] = number,
            Wire::Piece(piece) => texts[at] = Some(piece),
            _ => {}
        }
    }
    let text = |at: usize| texts[at].map(String::from_utf8_lossy);
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    match &schema.shape {
        Shape::Quantity => text(1).map_or(Node::Null, Node::Text),
        Shape::IntOrString if numbers[1] == 1 => Node::Text(text(3).unwrap_or_default()),
        Shape::IntOrString => Node::Number((numbers[2] as i32).to_string().into()),
        // Nobody set it.
        Shape::Text(Text::Time | Text::MicroTime) if numbers[1] == 0 && numbers[2] == 0 => Node::Null,
        Shape::Text(kind @ (Text::Time | Text::MicroTime)) => {
            let moment = jiff::Timestamp::new(numbers[1] as i64, numbers[2] as i32);
            let format =
                if *kind == Text::MicroTime { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
            moment.map_or(Node::Null, |moment| Node::Text(moment.strftime(format).to_string().into()))
        }
        // RawExtension and FieldsV1 carry JSON.
        _ => text(1).and_then(|text| crate::decode::json::parse_owned(&text).ok()).unwrap_or(Node::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counted piece as a field.
    fn piece(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn enveloped(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
        let meta = [piece(1, api_version.as_bytes()), piece(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), piece(1, &meta), piece(2, message)].concat()
    }

    fn target(name: &'static str) -> Target<'static> {
        Target {
            group: "",
            version: "v1",
            kind: name.rsplit('.').next().unwrap(),
            schema: Schema::of(name).unwrap(),
        }
    }

    #[test]
    fn messages_become_what_json_would_have_said() {
        let secret = target("io.k8s.api.core.v1.Secret");
        let metadata =
            piece(1, &[piece(1, b"x"), piece(11, &[piece(1, b"l"), piece(2, b"1")].concat())].concat());
        let data = piece(2, &[piece(1, b"k"), piece(2, b"hello")].concat());
        let value = decode(&secret, &enveloped("v1", "Secret", &[metadata, data].concat())).unwrap();
        assert_eq!(
            value.to_string(),
            r#"{"metadata":{"name":"x","labels":{"l":"1"}},"data":{"k":"aGVsbG8="}}"#
        );
    }

    #[test]
    fn embedded_structs_and_scalars_that_read_themselves() {
        let pod = target("io.k8s.api.core.v1.Pod");
        let port = piece(2, &[1 << 3, 0, 2 << 3, 80]);
        let probe =
            piece(10, &[piece(1, &piece(3, &[piece(1, &port[2..])].concat())), vec![3 << 3, 5]].concat());
        let limit = piece(8, &piece(1, &[piece(1, b"cpu"), piece(2, &piece(1, b"1000m"))].concat()));
        let container = piece(2, &[piece(1, b"c"), limit, probe].concat());
        let value = decode(&pod, &enveloped("v1", "Pod", &piece(2, &container))).unwrap();
        let expected = r#"{"containers":[{"name":"c","resources":{"limits":{"cpu":"1"}},"livenessProbe":{"tcpSocket":{"port":80},"timeoutSeconds":5}}]}"#;
        assert_eq!(value["spec"].to_string(), expected);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let pod = target("io.k8s.api.core.v1.Pod");
        let cases = [
            (
                b"{}".to_vec(),
                "the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})",
            ),
            (
                enveloped("v1", "Pod", &[0x12, 0x7f]),
                "Pod in version \"v1\" cannot be handled as a Pod: unexpected EOF",
            ),
            (
                enveloped("v1", "Secret", b""),
                "Secret in version \"v1\" cannot be handled as a Pod: converting (v1.Secret) to (core.Pod): unknown conversion",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(decode(&pod, &body).unwrap_err().message, expected);
        }
    }
}
