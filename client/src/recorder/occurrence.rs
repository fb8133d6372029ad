//! Something to be recorded, before it becomes an `Event` object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

/// Which of the two forms a component writes, as its upstream counterpart does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With `source`, `count` and first and last time: controllers and the kubelet.
    Counted,
    /// With `reportingController`, `action`, `eventTime` and a series: the scheduler.
    Series,
}

/// One occurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// About what.
    pub about: ObjectReference,
    /// Another object that is part of it.
    pub related: Option<ObjectReference>,
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// One word, such as `ScalingReplicaSet`.
    pub reason: String,
    /// What was done, such as `Binding`; only in the series form.
    pub action: String,
    /// A sentence.
    pub message: String,
    /// Annotations on the event.
    pub annotations: Vec<(String, String)>,
    pub(super) at: Timestamp,
}
