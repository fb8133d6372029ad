//! Label selectors of typed objects.

use coracle_api::selector::{self, Selector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

/// The selector of a workload. One that is absent or cannot be read selects nothing, so that a controller never touches
/// objects by mistake.
pub fn selector(selector: Option<&LabelSelector>) -> Selector {
    let value = selector.and_then(|selector| serde_json::to_value(selector).ok());
    value.and_then(|value| selector::from_object(&value).ok()).unwrap_or_else(Selector::nothing)
}

/// Whether an object with this metadata is selected.
pub fn matches(selector: &Selector, object: &ObjectMeta) -> bool {
    let labels = object.labels.as_ref();
    selector.matches_by(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}
