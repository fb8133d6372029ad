//! Protobuf bodies: an envelope around a message, read by the schema and its table of field numbers.
//!
//! A message names its fields by number only, so the schema is needed to read it. The result is the same [`Raw`] that
//! the document would give in JSON.

mod fields;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Budget, DEPTH, Fault, Limits, Raw, json};
use crate::schema::{Embedded, Schema, Shape, Struct, StructField, Text};
use fields::{Payload, field};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// A body that was opened: what it says it is, and the message inside.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// `apps/v1`; may be empty.
    pub api_version: String,
    /// `Deployment`; may be empty.
    pub kind: String,
    message: &'a [u8],
}

/// Opens a body of `application/vnd.kubernetes.protobuf`: a `runtime.Unknown`.
///
/// # Errors
/// Upstream's text for what is no envelope.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, Fault> {
    let Some(mut bytes) = body.strip_prefix(MAGIC) else {
        let text = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
        return Err(text.into());
    };
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), message: &[] };
    while let Some((number, payload)) = field(&mut bytes)? {
        match (number, payload) {
            (1, Payload::Piece(mut meta)) => {
                while let Some((number, payload)) = field(&mut meta)? {
                    match (number, payload) {
                        (1, Payload::Piece(text)) => {
                            envelope.api_version = String::from_utf8_lossy(text).into_owned();
                        }
                        (2, Payload::Piece(text)) => {
                            envelope.kind = String::from_utf8_lossy(text).into_owned()
                        }
                        (1, other) => return Err(wrong_form(&other, "APIVersion")),
                        (2, other) => return Err(wrong_form(&other, "Kind")),
                        _ => {}
                    }
                }
            }
            (2, Payload::Piece(piece)) => envelope.message = piece,
            (1, other) => return Err(wrong_form(&other, "TypeMeta")),
            (2, other) => return Err(wrong_form(&other, "Raw")),
            _ => {}
        }
    }
    Ok(envelope)
}

impl<'a> Envelope<'a> {
    /// The message, read as this type.
    ///
    /// # Errors
    /// Upstream's text for what is malformed or cut short, or what is too much.
    pub fn read(&self, schema: &Schema) -> Result<Raw<'a>, Fault> {
        Reader { budget: Budget::new(Limits::REQUEST) }.message(self.message, schema, 0)
    }
}

/// A field that is written in another form than its type has. `field` is Go's name for it.
fn wrong_form(payload: &Payload<'_>, field: &str) -> Fault {
    format!("proto: wrong wireType = {} for field {field}", payload.form()).into()
}

/// `podIP` is `PodIP` to Go.
fn go_name(field: &StructField) -> String {
    let mut letters = field.name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

type Entries<'a> = Vec<(Cow<'a, str>, Raw<'a>)>;

struct Reader {
    budget: Budget,
}

impl Reader {
    fn message<'a>(&mut self, bytes: &'a [u8], schema: &Schema, depth: usize) -> Result<Raw<'a>, Fault> {
        if depth > DEPTH {
            return Err("exceeded max depth".into());
        }
        self.budget.value()?;
        let Shape::Struct(fields) = &schema.shape else { return self_read(bytes, schema) };
        let mut entries = Vec::new();
        self.fields(bytes, fields, &[], &mut entries, depth)?;
        Ok(Raw::Map(entries))
    }

    /// The fields of one struct. `inside` are the embedded structs that are being read, from the outermost: JSON does not
    /// nest their fields.
    fn fields<'a>(
        &mut self,
        mut bytes: &'a [u8],
        fields: &Struct,
        inside: &[Embedded],
        entries: &mut Entries<'a>,
        depth: usize,
    ) -> Result<(), Fault> {
        while let Some((number, payload)) = field(&mut bytes)? {
            let own = |f: &&StructField| f.number == number && f.embedded == inside;
            if let Some(field) = fields.fields.iter().find(own) {
                self.add(field, payload, entries, depth)?;
                continue;
            }
            let within = |f: &&StructField| {
                f.embedded.starts_with(inside)
                    && f.embedded.get(inside.len()).is_some_and(|next| next.number == number)
            };
            // Anything else is a field that this version does not know: dropped, as protobuf asks.
            let Some(field) = fields.fields.iter().find(within) else { continue };
            let deeper = &field.embedded[..=inside.len()];
            let Payload::Piece(piece) = payload else {
                return Err(wrong_form(&payload, deeper[inside.len()].name));
            };
            self.fields(piece, fields, deeper, entries, depth)?;
        }
        Ok(())
    }

    fn add<'a>(
        &mut self,
        field: &StructField,
        payload: Payload<'a>,
        entries: &mut Entries<'a>,
        depth: usize,
    ) -> Result<(), Fault> {
        let schema = field.link.get();
        let mut wrong = |payload: &Payload<'_>| wrong_form(payload, &go_name(field));
        // A struct has few fields: looking through those that are there costs less than a map.
        let position = entries.iter().position(|(key, _)| *key == field.name);
        match &schema.shape {
            Shape::List { items, .. } => {
                let item = self.value(payload, items.get(), depth, &mut wrong)?;
                match position.map(|at| &mut entries[at].1) {
                    Some(Raw::List(list)) => list.push(item),
                    _ => {
                        self.budget.value()?;
                        entries.push((field.name.clone(), Raw::List(vec![item])));
                    }
                }
            }
            Shape::Map { values } => {
                let Payload::Piece(piece) = payload else { return Err(wrong(&payload)) };
                let entry = self.map_entry(piece, values.get(), depth, &mut wrong)?;
                match position.map(|at| &mut entries[at].1) {
                    Some(Raw::Map(map)) => map.push(entry),
                    _ => {
                        self.budget.value()?;
                        entries.push((field.name.clone(), Raw::Map(vec![entry])));
                    }
                }
            }
            _ => {
                let value = self.value(payload, schema, depth, &mut wrong)?;
                match position {
                    Some(at) => entries[at].1 = value,
                    None => entries.push((field.name.clone(), value)),
                }
            }
        }
        Ok(())
    }

    /// One entry of a map: a message of key and value.
    fn map_entry<'a>(
        &mut self,
        mut bytes: &'a [u8],
        values: &Schema,
        depth: usize,
        wrong: &mut dyn FnMut(&Payload<'_>) -> Fault,
    ) -> Result<(Cow<'a, str>, Raw<'a>), Fault> {
        let (mut key, mut found) = (Cow::Borrowed(""), None);
        while let Some((number, payload)) = field(&mut bytes)? {
            match (number, payload) {
                (1, Payload::Piece(text)) => key = String::from_utf8_lossy(text),
                (1, other) => return Err(wrong(&other)),
                (2, payload) => found = Some(self.value(payload, values, depth, wrong)?),
                _ => {}
            }
        }
        Ok((key, found.unwrap_or(Raw::Null)))
    }

    fn value<'a>(
        &mut self,
        payload: Payload<'a>,
        schema: &Schema,
        depth: usize,
        wrong: &mut dyn FnMut(&Payload<'_>) -> Fault,
    ) -> Result<Raw<'a>, Fault> {
        let scalar = match (&schema.shape, payload) {
            (Shape::Boolean, Payload::Number(number)) => Raw::Bool(number != 0),
            (Shape::Integer { bits: 32 }, Payload::Number(number)) => {
                // Negative numbers of 32 bits are written with 64.
                #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
                let number = number as i32;
                Raw::Number(number.to_string().into())
            }
            (Shape::Integer { .. }, Payload::Number(number)) => {
                #[allow(clippy::cast_possible_wrap)]
                let number = number as i64;
                Raw::Number(number.to_string().into())
            }
            (Shape::Number, Payload::Eight(bytes)) => {
                Raw::Number(f64::from_le_bytes(bytes).to_string().into())
            }
            (Shape::Text(Text::Plain), Payload::Piece(text)) => Raw::Text(String::from_utf8_lossy(text)),
            (Shape::Text(Text::Bytes), Payload::Piece(bytes)) => Raw::Text(STANDARD.encode(bytes).into()),
            (Shape::List { items, .. }, Payload::Piece(bytes)) => {
                return self.listed(bytes, items.get(), depth, wrong);
            }
            (Shape::Boolean | Shape::Integer { .. } | Shape::Number, _) => return Err(wrong(&payload)),
            (_, Payload::Piece(bytes)) => return self.message(bytes, schema, depth + 1),
            _ => return Err(wrong(&payload)),
        };
        self.budget.value()?;
        Ok(scalar)
    }

    /// A list inside a map, such as `extra` of a user: a message whose first field repeats.
    fn listed<'a>(
        &mut self,
        mut bytes: &'a [u8],
        items: &Schema,
        depth: usize,
        wrong: &mut dyn FnMut(&Payload<'_>) -> Fault,
    ) -> Result<Raw<'a>, Fault> {
        self.budget.value()?;
        let mut list = Vec::new();
        while let Some((number, payload)) = field(&mut bytes)? {
            if number == 1 {
                list.push(self.value(payload, items, depth + 1, wrong)?);
            }
        }
        Ok(Raw::List(list))
    }
}

/// Types that JSON writes as a scalar, or as it finds them.
fn self_read<'a>(mut bytes: &'a [u8], schema: &Schema) -> Result<Raw<'a>, Fault> {
    let (mut numbers, mut texts) = ([0u64; 4], [None, None, None, None::<&'a [u8]>]);
    while let Some((number, payload)) = field(&mut bytes)? {
        let Some(at) = usize::try_from(number).ok().filter(|at| *at < 4) else { continue };
        match payload {
            Payload::Number(number) => numbers[at] = number,
            Payload::Piece(piece) => texts[at] = Some(piece),
            _ => {}
        }
    }
    let text = |at: usize| texts[at].map(String::from_utf8_lossy);
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    Ok(match &schema.shape {
        Shape::Quantity => text(1).map_or(Raw::Null, Raw::Text),
        Shape::IntOrString if numbers[1] == 1 => Raw::Text(text(3).unwrap_or_default()),
        Shape::IntOrString => Raw::Number((numbers[2] as i32).to_string().into()),
        // Nobody set it.
        Shape::Text(Text::Time | Text::MicroTime) if numbers[1] == 0 && numbers[2] == 0 => Raw::Null,
        Shape::Text(kind @ (Text::Time | Text::MicroTime)) => {
            let moment = jiff::Timestamp::new(numbers[1] as i64, numbers[2] as i32);
            let format =
                if *kind == Text::MicroTime { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
            let moment = moment.map_err(|error| Fault::Malformed(error.to_string()))?;
            Raw::Text(moment.strftime(format).to_string().into())
        }
        // RawExtension and FieldsV1 carry JSON.
        _ => match text(1).filter(|text| !text.is_empty()) {
            Some(text) => json::parse_owned(&text)?,
            None => Raw::Null,
        },
    })
}

#[cfg(test)]
mod tests;
