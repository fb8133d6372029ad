//! Where in a document a value stands: a chain of borrowed steps, printed only for what is told.

use std::fmt;

use crate::schema::Embedded;

/// Where in the document and in Go's types a value stands.
pub(crate) enum Path<'a> {
    /// The whole document.
    Root,
    /// A field of a struct.
    Field { parent: &'a Path<'a>, owner: &'a str, embedded: &'a [Embedded], name: &'a str },
    /// An item of a list.
    Index { parent: &'a Path<'a>, index: usize },
    /// An entry of a map.
    Key { parent: &'a Path<'a>, key: &'a str },
}

impl Path<'_> {
    /// Go's path: names of fields and of embedded structs, no indexes. Answers the struct that holds the last field.
    fn go(&self, out: &mut String) -> &str {
        match self {
            Path::Root => "",
            Path::Index { parent, .. } | Path::Key { parent, .. } => parent.go(out),
            Path::Field { parent, owner, embedded, name } => {
                parent.go(out);
                for part in embedded.iter().map(|embedded| embedded.name).chain([*name]) {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(part);
                }
                owner
            }
        }
    }

    /// What `of type` refers to in Go's errors.
    pub(super) fn context(&self) -> String {
        let mut path = String::new();
        let owner = self.go(&mut path);
        if path.is_empty() { "Go value".into() } else { format!("Go struct field {owner}.{path}") }
    }
}

/// The path as unknown and repeated fields print it: `spec.containers[0].image`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Index { parent, index } => write!(f, "{parent}[{index}]"),
            Path::Field { parent, name, .. } | Path::Key { parent, key: name } => match parent {
                Path::Root => f.write_str(name),
                _ => write!(f, "{parent}.{name}"),
            },
        }
    }
}
