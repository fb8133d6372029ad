//! Writes: the body and the options go to the registry as they are, the answer comes back in the client's form.

use coracle_api::decode::Format;
use coracle_api::field::Fault;
use coracle_api::{Errors, Key, Kind, Path, Status};
use coracle_client::Propagation;
use serde_json::Value;

use super::app::{App, Asked};
use super::options::{ListQuery, WriteQuery, check_dry_run, invalid_options, unsupported};
use super::read::render;
use super::shape::{key, media, print, shaped};
use crate::entry::stored;
use crate::http::negotiation::{Media, Offer};
use crate::http::path::Target;
use crate::http::reply::{Reply, deleted};
use crate::large::size_of;
use crate::state::list::Listing;
use crate::state::selection::Selection;
use crate::write::operation::{Answer, Body, Context, DeleteOptions, Operation, PatchForm, Written};

/// `POST`.
pub async fn create(app: &App, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let media = media(asked, Offer::Objects)?;
    let options = WriteQuery::read(&asked.query, "CreateOptions", false)?;
    let body = body(asked)?;
    let sub = target.name.clone().zip(target.sub.clone());
    let operation = Operation::Create {
        kind: target.kind.clone(),
        namespace: target.namespace.clone().unwrap_or_default(),
        sub,
        body,
    };
    let answer = app.registry.perform(context(asked, &options), operation).await;
    written(app, asked, target, answer, &media).await
}

/// `POST` of a binding that names its pod only inside.
pub async fn bind(app: &App, asked: &Asked, namespace: String) -> Result<Reply, Status> {
    let binding = app.registry.read_binding(&asked.user, body(asked)?).await?;
    let name = binding["metadata"]["name"].as_str().unwrap_or_default().to_string();
    let target = Target {
        kind: coracle_api::kinds::POD.handle(),
        namespace: Some(namespace),
        name: Some(name),
        sub: Some("binding".into()),
        rest: String::new(),
        watch: false,
    };
    create(app, asked, &target).await
}

/// `PUT`.
pub async fn update(app: &App, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let media = media(asked, Offer::Objects)?;
    let options = WriteQuery::read(&asked.query, "UpdateOptions", false)?;
    let operation = Operation::Update { key: shown_key(target), sub: target.sub.clone(), body: body(asked)? };
    let answer = app.registry.perform(context(asked, &options), operation).await;
    written(app, asked, target, answer, &media).await
}

/// `PATCH`.
pub async fn patch(app: &App, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let media = media(asked, Offer::Objects)?;
    let form = patch_form(&target.kind, &asked.content_type, asked.query.flag("force"))?;
    let apply = matches!(form, PatchForm::Apply { .. });
    let options = WriteQuery::read(&asked.query, "PatchOptions", apply)?;
    let bytes = asked.body.clone();
    let body = Body::Bytes(if apply { Format::Yaml } else { Format::Json }, bytes);
    let operation = Operation::Patch { key: shown_key(target), sub: target.sub.clone(), form, body };
    let answer = app.registry.perform(context(asked, &options), operation).await;
    written(app, asked, target, answer, &media).await
}

/// `DELETE` of an object.
pub async fn delete(app: &App, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let media = media(asked, Offer::Objects)?;
    let (options, dry_run) = delete_options(app, asked).await?;
    let context = Context { dry_run, ..context(asked, &WriteQuery::default()) };
    let orphans = options.orphan_dependents;
    let answer = app.registry.perform(context, Operation::Delete { key: key(target), options }).await;
    let Written { object, gone, .. } = match answer.result {
        Ok(written) => written,
        Err(status) => return Ok(Reply::status(&status, &media).warning(answer.warnings)),
    };
    let reply = if gone && !target.kind.strategy.delete_answers_object {
        let uid = object.value().ok().and_then(|v| v["metadata"]["uid"].as_str().map(str::to_string));
        Reply::status(&deleted(&target.kind, &object.key.name, &uid.unwrap_or_default()), &media)
    } else {
        // Who says `orphanDependents: false` is told that the deletion has only begun.
        let code = if !gone && orphans == Some(false) { 202 } else { 200 };
        shaped(app, asked, &target.kind, code, &object, &media).await?
    };
    Ok(reply.warning(answer.warnings))
}

/// `DELETE` of a collection: every object that the selectors name, one by one.
pub async fn delete_collection(app: &App, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let media = media(asked, Offer::Objects)?;
    let list = ListQuery::read(&asked.query, false)?;
    let selection = Selection::parse(&target.kind, target.namespace.clone(), &list.labels, &list.fields)?;
    let (options, dry_run) = delete_options(app, asked).await?;
    let context = Context { dry_run, ..context(asked, &WriteQuery::default()) };
    let page = list.options()?;
    let (outcome, warnings) = app.registry.delete_collection(&context, &selection, &page, &options).await;
    let listed = match outcome {
        Ok(listing) => Listing { continue_token: String::new(), remaining: None, ..listing },
        Err(status) => return Ok(Reply::status(&status, &media).warning(warnings)),
    };
    Ok(render(app, asked, &target.kind, listed, media).await?.warning(warnings))
}

/// The key under the kind that was asked for: a view decodes and validates in its own form.
fn shown_key(target: &Target) -> Key {
    Key { kind: target.kind.clone(), ..key(target) }
}

fn context(asked: &Asked, options: &WriteQuery) -> Context {
    Context {
        user: asked.user.clone(),
        field_manager: options.field_manager.clone(),
        user_agent: asked.user_agent.clone(),
        dry_run: options.dry_run,
        field_validation: options.field_validation,
        ..Context::default()
    }
}

async fn written(
    app: &App,
    asked: &Asked,
    target: &Target,
    answer: Answer,
    media: &Media,
) -> Result<Reply, Status> {
    let reply = match answer.result {
        Ok(Written { shown: Some(value), created, .. }) => {
            let code = if created { 201 } else { 200 };
            let (size, media) = (size_of(&value), media.clone());
            print(app, asked, size, move || Ok(Reply::value(code, &value, &media))).await?
        }
        Ok(Written { object, created, .. }) => {
            let code = if created { 201 } else { 200 };
            let kind = if stored(&target.kind) == object.key.kind { &target.kind } else { &object.key.kind };
            shaped(app, asked, kind, code, &object, media).await?
        }
        Err(status) => Reply::status(&status, media),
    };
    Ok(reply.warning(answer.warnings))
}

/// What documents may be written in.
const BODIES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// What `Content-Type` says the body is; nothing means JSON.
fn body(asked: &Asked) -> Result<Body, Status> {
    let bytes = asked.body.clone();
    match media_type(&asked.content_type) {
        "" | "application/json" => Ok(Body::Bytes(Format::Json, bytes)),
        "application/yaml" => Ok(Body::Bytes(Format::Yaml, bytes)),
        "application/vnd.kubernetes.protobuf" => Ok(Body::Bytes(Format::Protobuf, bytes)),
        _ => Err(Status::unsupported_body(&BODIES)),
    }
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn patch_form(kind: &Kind, content_type: &str, force: bool) -> Result<PatchForm, Status> {
    match media_type(content_type) {
        "application/json-patch+json" => Ok(PatchForm::Json),
        "application/merge-patch+json" => Ok(PatchForm::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchForm::Strategic),
        "application/apply-patch+yaml" => Ok(PatchForm::Apply { force }),
        _ if kind.is_defined() => Err(Status::unsupported_body(kind.patch_types())),
        // Upstream's router knows only these of kinds that are built in, and has a text of its own.
        _ => Err(Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(coracle_api::status::Details::default())),
    }
}

/// The options of a delete: from the body if there is one, else from the query.
async fn delete_options(app: &App, asked: &Asked) -> Result<(DeleteOptions, bool), Status> {
    let given = if asked.body.is_empty() { from_query(asked)? } else { from_body(app, asked).await? };
    let mut errors = Errors::new();
    let mut options = DeleteOptions {
        grace_seconds: given["gracePeriodSeconds"].as_i64(),
        orphan_dependents: given["orphanDependents"].as_bool(),
        uid: given["preconditions"]["uid"].as_str().map(str::to_string),
        revision: given["preconditions"]["resourceVersion"].as_str().map(str::to_string),
        propagation: None,
    };
    let policy = Path::root("propagationPolicy");
    if let Some(text) = given["propagationPolicy"].as_str() {
        options.propagation = match text {
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            other => {
                if options.orphan_dependents.is_none() {
                    unsupported(&mut errors, &policy, other, &["Foreground", "Background", "Orphan", "nil"]);
                }
                None
            }
        };
        if options.orphan_dependents.is_some() {
            let body = format!(
                "Invalid value: {text:?}: orphanDependents and deletionPropagation cannot be both set"
            );
            errors.other(&policy, Fault::Invalid, body);
        }
    }
    let dry_run: Vec<&str> =
        given["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    check_dry_run(&dry_run, &mut errors);
    if errors.is_empty() {
        Ok((options, !dry_run.is_empty()))
    } else {
        Err(invalid_options("DeleteOptions", &errors))
    }
}

fn from_query(asked: &Asked) -> Result<Value, Status> {
    let query = &asked.query;
    let mut given = serde_json::json!({});
    if let Some(seconds) = query.int("gracePeriodSeconds")? {
        given["gracePeriodSeconds"] = seconds.into();
    }
    if query.get("orphanDependents").is_some() {
        given["orphanDependents"] = query.flag("orphanDependents").into();
    }
    if let Some(policy) = query.get("propagationPolicy") {
        given["propagationPolicy"] = policy.into();
    }
    let dry_run = query.all("dryRun");
    if !dry_run.is_empty() {
        given["dryRun"] = dry_run.into();
    }
    Ok(given)
}

async fn from_body(app: &App, asked: &Asked) -> Result<Value, Status> {
    let frame = "the object provided is unrecognized (must be of type DeleteOptions): ";
    app.registry.read_options(&asked.user, body(asked)?).await.map_err(|mut status| {
        // Upstream reads options by another decoder, whose texts are shorter.
        if let Some(rest) = status.message.strip_prefix(frame) {
            let end = rest.rfind(" (").unwrap_or(rest.len());
            status.message = rest[..end].to_string();
        }
        let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
        if let Some((kind, rest)) = status.message.split_once(" in version ")
            && (rest.ends_with("unknown conversion") || rest.contains(": no kind "))
        {
            let version = rest.split('"').nth(1).unwrap_or_default();
            status.message =
                format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}");
        }
        status
    })
}
