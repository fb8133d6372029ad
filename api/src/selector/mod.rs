//! Which objects a list, a watch, a service or a workload means: by labels, and by fields.
//!
//! ```text
//! "a=b,c in (d,e)" --Selector::parse--> Selector --matches--> yes or no
//! {"matchLabels": ...} --from_object--^
//! "metadata.name=x" --FieldSelector::parse--> FieldSelector
//! ```

mod fields;
mod labels;
mod lexer;
mod object;
mod operator;

pub use fields::{FieldSelector, Term};
pub use labels::{Requirement, Selector};
pub use object::{from_object, validate_expression, validate_object};
pub use operator::Operator;
