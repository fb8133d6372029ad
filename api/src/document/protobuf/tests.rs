//! Whatever can be said in JSON can be said in protobuf: samples of every type are written by the table of field numbers and
//! read back.

use serde_json::{Map, Value, json};

use super::*;
use crate::decode::{self, FieldValidation, Format, Target, Wording, shape};
use crate::schema::Link;
use crate::status::Status;

/// A counted piece as a field.
fn piece(number: u32, bytes: &[u8]) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn number(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

/// A message of one field.
fn field(number: u32, value: &Value, schema: &Schema) -> Vec<u8> {
    match (&schema.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter().flat_map(|item| field(number, item, items.get())).collect()
        }
        (Shape::Map { values }, Value::Object(map)) => {
            let entry = |(key, value): (&String, &Value)| {
                let inner = match (&values.get().shape, value) {
                    // A list in a map is a message of its own.
                    (Shape::List { items, .. }, Value::Array(_)) => {
                        let list = Schema {
                            name: "".into(),
                            go: String::new(),
                            shape: list_of(items.get()),
                            rules: None,
                        };
                        piece(2, &field(1, value, &list))
                    }
                    _ => field(2, value, values.get()),
                };
                piece(number, &[piece(1, key.as_bytes()), inner].concat())
            };
            map.iter().flat_map(entry).collect()
        }
        (Shape::Struct(fields), Value::Object(map)) => piece(number, &message(map, fields, &[])),
        (Shape::Text(Text::Plain), Value::String(text)) => piece(number, text.as_bytes()),
        (Shape::Text(Text::Bytes), Value::String(text)) => piece(number, &STANDARD.decode(text).unwrap()),
        (Shape::Text(_), Value::String(text)) => {
            let moment: jiff::Timestamp = text.parse().unwrap();
            let nanos = u64::try_from(moment.subsec_nanosecond()).unwrap();
            let seconds = u64::try_from(moment.as_second()).unwrap();
            piece(number, &[self::number(1, seconds), self::number(2, nanos)].concat())
        }
        (Shape::Quantity, Value::String(text)) => piece(number, &piece(1, text.as_bytes())),
        (Shape::IntOrString, Value::String(text)) => {
            piece(number, &[self::number(1, 1), piece(3, text.as_bytes())].concat())
        }
        (Shape::IntOrString, value) => piece(number, &self::number(2, value.as_u64().unwrap())),
        (Shape::Boolean, value) => self::number(number, u64::from(value.as_bool().unwrap())),
        (Shape::Number, value) => {
            let bytes = value.as_f64().unwrap().to_le_bytes();
            [varint(u64::from(number) << 3 | 1), bytes.to_vec()].concat()
        }
        (Shape::Integer { .. }, value) => self::number(number, value.as_i64().unwrap().cast_unsigned()),
        (_, value) => piece(number, &piece(1, value.to_string().as_bytes())),
    }
}

fn list_of(items: &Schema) -> Shape {
    let items = match &items.shape {
        Shape::Text(text) => Shape::Text(*text),
        other => panic!("no type has a map of lists of {other:?}"),
    };
    let items =
        Link::Here(Box::new(Schema { name: "".into(), go: String::new(), shape: items, rules: None }));
    Shape::List { items, kind: crate::schema::ListKind::Atomic }
}

/// The fields of a struct that are embedded as deep as this.
fn message(map: &Map<String, Value>, fields: &Struct, inside: &[Embedded]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut done: Vec<Embedded> = Vec::new();
    for of_struct in fields.fields.iter().filter(|f| f.embedded.starts_with(inside)) {
        match of_struct.embedded.get(inside.len()) {
            Some(next) if !done.contains(next) => {
                done.push(*next);
                let inner = message(map, fields, &of_struct.embedded[..=inside.len()]);
                out.extend(piece(next.number, &inner));
            }
            Some(_) => {}
            None => {
                let value = map.get(&*of_struct.name).filter(|_| of_struct.number > 0);
                out.extend(value.into_iter().flat_map(|v| field(of_struct.number, v, of_struct.link.get())));
            }
        }
    }
    out
}

/// A value of this shape in which every field is set, nested to this depth; null where that would be an empty list or
/// map.
fn sample(schema: &Schema, depth: usize) -> Value {
    match &schema.shape {
        Shape::Boolean => json!(true),
        Shape::Integer { bits: 32 } => json!(-7),
        Shape::Integer { .. } => json!(1_i64 << 40),
        Shape::Number => json!(1.5),
        Shape::Text(Text::Plain) => json!("text"),
        Shape::Text(Text::Bytes) => json!("aGVsbG8="),
        Shape::Text(Text::Time) => json!("2026-01-02T03:04:05Z"),
        Shape::Text(Text::MicroTime) => json!("2026-01-02T03:04:05.678000Z"),
        Shape::Quantity => json!("500m"),
        Shape::IntOrString => json!(80),
        Shape::Any => json!({"any": ["thing"]}),
        Shape::List { items, .. } if depth > 0 => [depth - 1, 0]
            .into_iter()
            .map(|depth| sample(items.get(), depth))
            .filter(|v| !v.is_null())
            .collect(),
        Shape::Map { values } if depth > 0 => match sample(values.get(), depth - 1) {
            Value::Null => Value::Null,
            value => json!({"a.b/c": value}),
        },
        Shape::Struct(fields) if depth > 0 => {
            let own = fields.fields.iter().filter(|field| !matches!(&*field.name, "kind" | "apiVersion"));
            let values =
                own.map(|field| (field.name.clone().into_owned(), sample(field.link.get(), depth - 1)));
            values.filter(|(_, value)| !value.is_null()).collect()
        }
        // In protobuf an empty one is none.
        Shape::List { .. } | Shape::Map { .. } => Value::Null,
        Shape::Struct(_) => json!({}),
    }
}

fn enveloped(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let meta = [piece(1, api_version.as_bytes()), piece(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), piece(1, &meta), piece(2, message)].concat()
}

fn target(name: &'static str) -> Target<'static> {
    let kind = name.rsplit('.').next().unwrap();
    Target { group: "", version: "v1", kind, schema: Schema::of(name).unwrap() }
}

fn decoded(target: &Target<'_>, body: &[u8]) -> Result<Value, Status> {
    decode::decode(target, Format::Protobuf, body, FieldValidation::Strict).map(|decoded| decoded.value)
}

#[test]
fn every_type_reads_alike_in_json_and_protobuf() {
    let mut types = 0;
    for name in Schema::names() {
        let schema = Schema::of(name).unwrap();
        let Some(fields) = schema.fields() else { continue };
        let (Value::Object(map), depth) = (sample(schema, 4), 4) else { panic!("{name}") };
        types += 1;
        let bytes = message(&map, fields, &[]);
        let envelope = Envelope { api_version: String::new(), kind: String::new(), message: &bytes };
        let raw = envelope.read(schema).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let (found, mut problems) = shape(raw, schema, Wording::Json);
        assert_eq!(problems.error(), None, "{name}");
        assert_eq!(problems.strict, Vec::<String>::new(), "{name}");
        let text = Value::Object(map).to_string();
        let (expected, _) = shape(json::parse(&text).unwrap(), schema, Wording::Json);
        assert_eq!(found, expected, "{name} to the depth of {depth}");
    }
    assert!(types > 400, "only {types} types");
}

/// The places where a field of a message ends.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let (mut rest, mut ends) = (bytes, vec![0]);
    while let Ok(Some(_)) = fields::field(&mut rest) {
        ends.push(bytes.len() - rest.len());
    }
    ends
}

#[test]
fn a_message_that_is_cut_short_is_refused() {
    let schema = Schema::of("io.k8s.api.core.v1.Pod").unwrap();
    let Value::Object(map) = sample(schema, 5) else { panic!("a pod is a map") };
    let bytes = message(&map, schema.fields().unwrap(), &[]);
    let whole = ends(&bytes);
    for length in 0..bytes.len() {
        let envelope =
            Envelope { api_version: String::new(), kind: String::new(), message: &bytes[..length] };
        let read = envelope.read(schema).map(drop);
        if whole.contains(&length) {
            assert_eq!(read, Ok(()), "{length} bytes end with a field");
        } else {
            assert_eq!(read, Err(fields::CUT.into()), "{length} bytes");
        }
    }
    // The same for a nested message that is cut, at any depth.
    let time = piece(1, &piece(8, &[1 << 3, 0x80]));
    let quantity = piece(2, &piece(32, &[piece(1, b"cpu"), piece(2, &[0x0a, 0x7f])].concat()));
    let fields = piece(1, &piece(17, &piece(7, &[0x0a, 0x7f])));
    for cut in [time, quantity, fields] {
        let status = decoded(&target("io.k8s.api.core.v1.Pod"), &enveloped("v1", "Pod", &cut)).unwrap_err();
        assert_eq!(
            status.message, "Pod in version \"v1\" cannot be handled as a Pod: unexpected EOF",
            "{cut:?}"
        );
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let pod = target("io.k8s.api.core.v1.Pod");
    let unusable = "Pod in version \"v1\" cannot be handled as a Pod: ";
    let cases = [
        (
            b"{}".to_vec(),
            "the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})".to_owned(),
        ),
        (
            [MAGIC, &[0x0a, 0x7f]].concat(),
            "the object provided is unrecognized (must be of type Pod): unexpected EOF (6b3873000a7f)".to_owned(),
        ),
        (
            enveloped("v1", "Secret", b""),
            "Secret in version \"v1\" cannot be handled as a Pod: converting (v1.Secret) to (core.Pod): unknown conversion".to_owned(),
        ),
        (enveloped("v1", "Pod", &[0x12, 0x7f]), format!("{unusable}unexpected EOF")),
        (enveloped("v1", "Pod", &[0x00, 0x00]), format!("{unusable}proto: illegal tag 0")),
        (enveloped("v1", "Pod", &[0x0b]), format!("{unusable}proto: illegal wireType")),
        (enveloped("v1", "Pod", &number(2, 5)), format!("{unusable}proto: wrong wireType = 0 for field Spec")),
        (
            enveloped("v1", "Pod", &piece(2, &piece(4, b"x"))),
            format!("{unusable}proto: wrong wireType = 2 for field TerminationGracePeriodSeconds"),
        ),
        (
            enveloped("v1", "Pod", &piece(1, &number(11, 1))),
            format!("{unusable}proto: wrong wireType = 0 for field Labels"),
        ),
        (
            enveloped("v1", "Pod", &piece(1, &piece(17, &piece(7, &piece(1, b"{"))))),
            format!("{unusable}unexpected end of JSON input"),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(decoded(&pod, &body).unwrap_err().message, expected);
    }
    // Fields of a later version are no fault.
    let later = enveloped("v1", "Pod", &piece(900, b"later"));
    assert!(decoded(&pod, &later).is_ok());
}

#[test]
fn empty_items_count_as_much_as_others() {
    // A container of no fields is two bytes, and some hundred as a struct.
    let containers = [0x12, 0x00].repeat(Limits::REQUEST.values);
    let pod = target("io.k8s.api.core.v1.Pod");
    let refused = decoded(&pod, &enveloped("v1", "Pod", &piece(2, &containers))).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (413, "RequestEntityTooLarge"));
}
