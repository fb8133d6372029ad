//! Which container of the engine a request means.

use coracle_api::Status;
use coracle_client::line::Open;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use crate::context::Context;
use crate::labels::{Identity, Owner};

/// The running container of a name, by its labels.
///
/// # Errors
/// With upstream's text, for one that does not run.
pub(super) async fn running(ctx: &Context, order: &Open) -> Result<String, Status> {
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    let containers = ctx.runtime().of_pod(&owner, &order.uid).await.map_err(Status::internal)?;
    let found = containers.into_iter().find(|container| {
        container.state.is_running()
            && Identity::read(&container.labels)
                .is_some_and(|who| who.uid == order.uid && who.container == order.container)
    });
    let missing = || {
        let text = format!("container not found ({:?})", order.container);
        Status::failure(500, "InternalError", text)
    };
    found.map(|container| container.id).ok_or_else(missing)
}

/// The container whose log is meant, by the pod's status: the current one, or the one before.
///
/// # Errors
/// 400, with upstream's texts, where there is none yet or no longer.
pub(super) fn for_log(pod: &Pod, name: &str, previous: bool) -> Result<String, Status> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let bad = |what: String| Status::bad_request(what);
    let status = pod.status.iter().flat_map(|status| {
        let lists = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten()
    });
    let mut status = status.filter(|status| status.name == name);
    let Some(status) = status.next() else {
        return Err(bad(format!("container {name:?} in pod {pod_name:?} is not available")));
    };
    let last = ended(status.last_state.as_ref());
    if previous {
        let missing = || bad(format!("previous terminated container {name:?} in pod {pod_name:?} not found"));
        return last.ok_or_else(missing);
    }
    let current = running_id(status).or_else(|| ended(status.state.as_ref())).or(last);
    current.ok_or_else(|| {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        let why = match reason {
            Some("ErrImagePull") => "image can't be pulled",
            Some("ImagePullBackOff") => "trying and failing to pull image",
            Some(reason) => reason,
            None => "no reason provided",
        };
        bad(format!("container {name:?} in pod {pod_name:?} is waiting to start: {why}"))
    })
}

fn running_id(status: &ContainerStatus) -> Option<String> {
    status.state.as_ref()?.running.as_ref()?;
    engine_id(status.container_id.as_deref()?)
}

fn ended(state: Option<&ContainerState>) -> Option<String> {
    engine_id(state?.terminated.as_ref()?.container_id.as_deref()?)
}

/// The engine's id in `docker://ID`.
fn engine_id(id: &str) -> Option<String> {
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_log_of_the_current_container_or_of_the_one_before() {
        let ended = json!({"terminated": {"exitCode": 1, "containerID": "docker://old"}});
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        let runs = json!({"running": {}});
        let cases = [
            ("running", runs.clone(), json!({}), false, Ok::<&str, &str>("new")),
            ("ended", ended.clone(), json!({}), false, Ok("old")),
            ("crash loop", waits("CrashLoopBackOff"), ended.clone(), false, Ok("old")),
            ("before the running one", runs.clone(), ended, true, Ok("old")),
            (
                "none before",
                runs,
                json!({}),
                true,
                Err(r#"previous terminated container "c" in pod "x" not found"#),
            ),
            (
                "not yet",
                waits("ContainerCreating"),
                json!({}),
                false,
                Err(r#"container "c" in pod "x" is waiting to start: ContainerCreating"#),
            ),
            (
                "no image",
                waits("ImagePullBackOff"),
                json!({}),
                false,
                Err(r#"container "c" in pod "x" is waiting to start: trying and failing to pull image"#),
            ),
        ];
        for (case, state, last, previous, expected) in cases {
            let status = json!({"name": "c", "containerID": "docker://new", "ready": true, "restartCount": 0,
                "image": "i", "imageID": "", "state": state, "lastState": last});
            let pod = json!({"metadata": {"name": "x"}, "status": {"containerStatuses": [status]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let got = for_log(&pod, "c", previous).map_err(|status| status.message);
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "case: {case}");
        }
    }
}
