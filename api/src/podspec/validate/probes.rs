//! Probes and lifecycle hooks, which share their handlers.

use super::context::Context;
use crate::field::{Errors, Field};
use crate::names;
use crate::validate::rules::{Rule::*, check};

/// A probe, if it is there; its name tells which, for each has a rule of its own.
pub fn probe(probe: &Field, errors: &mut Errors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    let table = [
        ("initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold", NotNegative),
        ("terminationGracePeriodSeconds", AtLeast(1, "must be greater than 0")),
    ];
    check(probe, &table, errors);
    if probe.name() == "readinessProbe" {
        for grace in probe.among(&["terminationGracePeriodSeconds"]) {
            errors.wrong(&grace, "must not be set for readinessProbes");
        }
    } else if probe.int("successThreshold") != Some(1) {
        let threshold = probe.int("successThreshold").unwrap_or(0);
        errors.invalid(&probe.get("successThreshold"), threshold, "must be 1");
    }
}

/// The hooks of a container and its stop signal. `grace` is the most that a hook may sleep.
pub fn lifecycle(lifecycle: &Field, context: &Context, grace: Option<i64>, errors: &mut Errors) {
    for hook in lifecycle.among(&["postStart", "preStop"]) {
        handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
    }
    let signal = lifecycle.get("stopSignal");
    match context.spec.get("os").str("name") {
        _ if !signal.is_set() => {}
        "" => errors.forbidden(&signal, "may not be set for containers with empty `spec.os.name`"),
        "windows" if !["SIGTERM", "SIGKILL"].contains(&signal.text()) => {
            errors.not_supported(&signal, signal.text(), "SIGKILL SIGTERM");
        }
        _ => {}
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
    match action.name() {
        "exec" => check(action, &[("command", Needed)], errors),
        "httpGet" => {
            let table = [("path", Needed), ("port", PortOrName), ("scheme", OneOf("HTTP HTTPS"))];
            check(action, &table, errors);
            // Upstream's paths leave out the index here.
            for header in action.get("httpHeaders").items().map(|header| header.str("name")) {
                errors.all_invalid(&action.get("httpHeaders"), header, names::http_header(header));
            }
        }
        "tcpSocket" => check(action, &[("port", PortOrName)], errors),
        "grpc" => check(action, &[("port", Port)], errors),
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
