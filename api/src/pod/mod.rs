//! Pods and pod templates: what is filled in, what is refused, what may change later, what is warned about.

mod app_armor;
mod defaults;
mod resize;
pub mod resources;
mod status;
mod strategy;
pub mod table;
mod update;
mod validate;
mod warnings;

pub use app_armor::app_armor_warnings;
pub use defaults::{complete_pod, complete_spec, image_tag};
pub use resize::validate_resize;
pub use status::validate_pod_status_update;
pub use strategy::{
    prepare_create, prepare_ephemeral_update, prepare_resize, prepare_status_update, prepare_update,
};
pub use update::{validate_ephemeral_update, validate_pod_update};
pub(crate) use validate::{TAINT_EFFECTS, amount};
pub use validate::{validate_pod, validate_pod_template};
pub use warnings::{pod_warnings, template_warnings};
