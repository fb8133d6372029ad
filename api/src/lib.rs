//! The resource model, without I/O: what an object is, and everything that can be said about one without
//! asking anybody.
//!
//! ```text
//!  bytes --document--> Raw --decode--> Value --default--> --validate--> Value --encode--> bytes
//!                              ^ schema        ^ kind's row   ^ kind's row
//! ```
//!
//! Objects are plain [`serde_json::Value`]s here. Their shape is told once, in the schemas; what a schema cannot
//! say (defaults that depend, cross-field rules, immutability, table cells) hangs on the kind's row in [`kind`].

pub mod addresses;
pub mod apply;
pub mod decode;
pub mod defaults;
pub mod document;
pub mod field;
pub mod handle;
pub mod internal;
pub mod kind;
pub mod kinds;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod podspec;
pub mod quantity;
pub mod read;
pub mod scale;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod validate;

pub use field::{Errors, Field, FieldError, Path};
pub use handle::Handle;
pub use kind::{Kind, KindRef};
pub use object::{Key, Object, Revision};
pub use quantity::Quantity;
pub use status::Status;
