//! Which objects a list, a watch, a service or a workload means: by labels, and by fields.
//!
//! ```text
//! "a=b,c in (d,e)" --labels::parse--> Selector --matches--> yes or no
//! {"matchLabels": ...} --object::labels--^
//! "metadata.name=x" --fields::parse--> FieldSelector
//! ```

mod fields;
mod labels;
mod lexer;
mod object;

pub use fields::{FieldSelector, Term};
pub use labels::{Operator, Requirement, Selector};
pub use object::{from_map, from_object, invalid_object};
