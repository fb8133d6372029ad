//! The spec of a pod, which stands in pods and in the templates of workloads: what is filled in, what is refused, what is
//! warned about, and what it asks for.

mod containers;
mod defaults;
pub mod host_ports;
pub mod resources;
mod validate;
mod warnings;

pub(crate) use containers::{LISTS, visit_containers};
pub use defaults::{complete_spec, image_tag};
pub(crate) use validate::{
    APP_ARMOR, TAINT_EFFECTS, USER_ID, amount, annotation_updates, image_is_trimmed, spec_and_annotations,
    tolerations,
};
pub use validate::{validate_pod, validate_pod_template};
pub use warnings::{pod_warnings, template_warnings};
