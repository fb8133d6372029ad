//! Pods and pod templates: what is filled in, what is refused, what may change later, what is warned about.

mod defaults;
pub mod resources;
pub mod table;
mod validate;

pub use defaults::{default_pod, default_pod_template, image_tag};
pub use validate::{validate_pod, validate_pod_template};
