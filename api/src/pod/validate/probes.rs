//! Probes and lifecycle hooks, which share their handlers.

use super::Context;
use crate::field::{Errors, Field};
use crate::names;
use crate::validate::rules;

/// A probe, if it is there; `name` tells which, for each has a rule of its own.
pub fn probe(probe: &Field, name: &str, errors: &mut Errors) {
    if !probe.is_set() {
        return;
    }
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    let numbers =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    for number in numbers {
        rules::non_negative(&probe.get(number), errors);
    }
    let grace = probe.get("terminationGracePeriodSeconds");
    rules::at_least(&grace, 1, "must be greater than 0", errors);
    if name == "readinessProbe" {
        if grace.is_set() {
            errors.invalid(&grace, grace.value.clone(), "must not be set for readinessProbes");
        }
    } else {
        let threshold = probe.int("successThreshold").unwrap_or(0);
        if threshold != 1 {
            errors.invalid(&probe.get("successThreshold"), threshold, "must be 1");
        }
    }
}

/// The hooks of a container and its stop signal. `grace` is the most that a hook may sleep.
pub fn lifecycle(lifecycle: &Field, context: &Context, grace: Option<i64>, errors: &mut Errors) {
    for hook in lifecycle.among(&["postStart", "preStop"]) {
        handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
    }
    let signal = lifecycle.get("stopSignal");
    if signal.is_set() {
        if !context.spec.get("os").has("name") {
            let detail = "may not be set for containers with empty `spec.os.name`";
            errors.forbidden(&signal, detail);
        } else if context.spec.get("os").str("name") == "windows"
            && !["SIGTERM", "SIGKILL"].contains(&signal.text())
        {
            errors.not_supported(&signal, signal.text(), &["SIGKILL", "SIGTERM"]);
        }
    }
}

/// Exactly one way to run a probe or a hook; the rules of a second one are not looked at.
fn handler(parent: &Field, kinds: &[&str], grace: Option<i64>, errors: &mut Errors) {
    let mut found = parent.among(kinds);
    match found.next() {
        None => errors.required(parent, "must specify a handler type"),
        Some(handler) => action(&handler, grace, errors),
    }
    for other in found {
        errors.forbidden(&other, "may not specify more than 1 handler type");
    }
}

fn action(action: &Field, grace: Option<i64>, errors: &mut Errors) {
    match action.path().name() {
        "exec" => rules::required(&action.get("command"), "", errors),
        "httpGet" => http_get(action, errors),
        "tcpSocket" => rules::port_number_or_name(&action.get("port"), errors),
        "grpc" => rules::port_number(&action.get("port"), errors),
        _ => {
            let seconds = action.int("seconds").unwrap_or(0);
            if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                let detail =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.invalid(action, seconds, &detail);
            }
        }
    }
}

fn http_get(get: &Field, errors: &mut Errors) {
    rules::required(&get.get("path"), "", errors);
    rules::port_number_or_name(&get.get("port"), errors);
    rules::one_of(&get.get("scheme"), &["HTTP", "HTTPS"], errors);
    for header in get.get("httpHeaders").items() {
        // Upstream's paths leave out the index here.
        let name = header.str("name");
        errors.all_invalid(&get.get("httpHeaders"), name, names::http_header(name));
    }
}
