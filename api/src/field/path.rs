//! Where in an object a field lies.

use std::fmt;

/// A path into an object, as a chain of borrowed steps: building one allocates nothing until it is printed.
///
/// ```
/// use coracle_api::Path;
/// let spec = Path::root("spec");
/// let containers = spec.child("containers");
/// let first = containers.index(0);
/// assert_eq!(first.child("image").to_string(), "spec.containers[0].image");
/// assert_eq!(Path::root("data").key("a.b").to_string(), "data[a.b]");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object itself: nothing is printed of it.
    pub const WHOLE: Path<'static> = Path::root("");

    /// The first step of a path, such as `spec`.
    pub const fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Field(name) }
    }

    /// The field `name` of what this path names.
    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// Item `index` of the list that this path names.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The last step, if it is a field or a key; empty for an index.
    pub const fn name(&self) -> &'a str {
        match self.step {
            Step::Field(name) | Step::Key(name) => name,
            Step::Index(_) => "",
        }
    }

    /// Whether this is the object itself.
    fn is_whole(&self) -> bool {
        self.parent.is_none() && matches!(self.step, Step::Field(""))
    }

    /// The entry `key` of the map that this path names; printed in brackets, as upstream does.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some_and(|parent| !parent.is_whole()) => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}
