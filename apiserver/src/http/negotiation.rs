//! Which form of an answer a client wants: the header `Accept`, read as upstream does, oddities included.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use coracle_api::Status;
use coracle_api::status::Details;

/// An answer's encoding and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// YAML rather than JSON.
    pub yaml: bool,
    /// Indented JSON.
    pub pretty: bool,
    /// The shape.
    pub shape: Shape,
}

impl Media {
    /// Plain JSON.
    pub const JSON: Media = Media { yaml: false, pretty: false, shape: Shape::Whole };
}

/// What of an object or a list is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Whole,
    /// `Table`, in this version of `meta.k8s.io`.
    Table(String),
    /// `PartialObjectMetadata`, in this version.
    Partial(String),
    /// `PartialObjectMetadataList`, in this version.
    PartialList(String),
    /// `APIGroupDiscoveryList`, in this version of `apidiscovery.k8s.io`.
    Discovery(String),
}

/// What an endpoint can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Objects: every shape but discovery's.
    Objects,
    /// A list that can be watched: the same, with two more names in its refusal.
    Lists,
    /// `/api` and `/apis`.
    Discovery,
    /// One group, one version.
    Plain,
    /// `/version`: JSON only.
    JsonOnly,
}

struct Clause<'a> {
    of: &'a str,
    sub: &'a str,
    q: f32,
    params: Vec<(&'a str, &'a str)>,
}

/// Chooses the form of an answer.
///
/// # Errors
/// 406, in one of its two texts: the router's, where no type is known at all, or the handler's.
pub fn negotiate(accept: &str, offer: Offer, watch: bool) -> Result<Media, Status> {
    if !routed(accept, offer) {
        return Err(not_routed(offer));
    }
    if offer == Offer::JsonOnly {
        return Ok(Media::JSON);
    }
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(clause).collect();
    if clauses.is_empty() {
        return Ok(Media::JSON);
    }
    clauses.sort_by(|a, b| {
        b.q.total_cmp(&a.q)
            .then_with(|| (a.of == "*").cmp(&(b.of == "*")))
            .then_with(|| (a.sub == "*").cmp(&(b.sub == "*")))
    });
    if offer == Offer::Discovery {
        // Whoever can read the aggregated form gets it, whatever it would like better.
        let aggregated = clauses.iter().filter_map(|clause| options(clause, "json", offer, watch));
        if let Some(media) = aggregated.into_iter().find(|media| media.shape != Shape::Whole) {
            return Ok(media);
        }
    }
    let mut binary = None;
    for clause in &clauses {
        for sub in ["json", "yaml", "vnd.kubernetes.protobuf"] {
            let fits = (clause.of == "application" && (clause.sub == sub || clause.sub == "*"))
                || (clause.of == "*" && clause.sub == "*");
            if !fits || (watch && sub == "yaml") {
                continue;
            }
            let Some(media) = options(clause, sub, offer, watch) else { continue };
            // Every client that prefers protobuf reads JSON as well, and it is told which it gets.
            if sub == "vnd.kubernetes.protobuf" {
                binary = binary.or(Some(media));
                continue;
            }
            return Ok(media);
        }
    }
    if let Some(media) = binary {
        return Ok(media);
    }
    Err(not_negotiated(watch))
}

/// Only the encoding, for errors: a shape that cannot be had must not hide the reason why.
pub fn of_error(accept: &str) -> Media {
    let yaml =
        accept.split(',').filter_map(clause).next().is_some_and(|c| c.of == "application" && c.sub == "yaml");
    Media { yaml, ..Media::JSON }
}

/// The router compares whole types, blind to parameters and wildcards but the full one.
fn routed(accept: &str, offer: Offer) -> bool {
    let types: &[&str] = match offer {
        Offer::JsonOnly => &["application/json"],
        _ => &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"],
    };
    let mut parts = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    accept.trim().is_empty() || parts.any(|part| part == "*/*" || types.contains(&part))
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut pieces = text.split(';').map(str::trim);
    let (of, sub) = match pieces.next()? {
        "" => return None,
        "*" => ("*", "*"),
        range => range.split_once('/')?,
    };
    let mut clause = Clause { of, sub, q: 1.0, params: Vec::new() };
    for piece in pieces {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        match name.trim() {
            "q" => clause.q = value.trim().parse().unwrap_or(1.0),
            name => clause.params.push((name, value.trim())),
        }
    }
    Some(clause)
}

fn options(clause: &Clause<'_>, sub: &str, offer: Offer, watch: bool) -> Option<Media> {
    let param = |name: &str| {
        clause.params.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| *value).unwrap_or_default()
    };
    let stream = param("stream");
    let streams = watch && stream == "watch";
    if !stream.is_empty() && !streams {
        return None;
    }
    let version = param("v").to_string();
    let versions: &[&str] = match offer {
        Offer::Discovery => &["v2", "v2beta1"],
        _ => &["v1", "v1beta1"],
    };
    let (group, known) = (param("g"), versions.contains(&version.as_str()));
    let shape = match (param("as"), offer) {
        ("", _) => Shape::Whole,
        ("APIGroupDiscoveryList", Offer::Discovery) if group == "apidiscovery.k8s.io" && known => {
            Shape::Discovery(version)
        }
        ("Table", Offer::Objects | Offer::Lists) if group == "meta.k8s.io" && known => Shape::Table(version),
        ("PartialObjectMetadata", Offer::Objects | Offer::Lists) if group == "meta.k8s.io" && known => {
            Shape::Partial(version)
        }
        ("PartialObjectMetadataList", Offer::Objects | Offer::Lists) if group == "meta.k8s.io" && known => {
            Shape::PartialList(version)
        }
        _ => return None,
    };
    let pretty = matches!(param("pretty"), "1" | "t" | "T" | "true" | "TRUE" | "True");
    Some(Media { yaml: sub == "yaml", pretty, shape })
}

fn not_routed(offer: Offer) -> Status {
    let types = match offer {
        Offer::JsonOnly => "application/json",
        Offer::Lists => {
            "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        }
        _ => "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    };
    let message = format!("406: Not Acceptable\n\nAvailable representations: {types}");
    Status::failure(406, "NotAcceptable", message).with_details(Details::default())
}

fn not_negotiated(watch: bool) -> Status {
    let types = if watch {
        "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    };
    Status::failure(406, "NotAcceptable", format!("only the following media types are accepted: {types}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_upstream_chooses() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let cases = [
            ("", Some("json")),
            ("*/*", Some("json")),
            ("application/yaml", Some("yaml")),
            ("application/json;q=0.5,application/yaml", Some("yaml")),
            ("application/json;q=0", Some("json")),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some("json")),
            ("application/vnd.kubernetes.protobuf,application/json", Some("json")),
            (table, Some("table")),
            ("application/json;as=Nope;v=v1;g=meta.k8s.io,application/json", Some("json")),
            ("application/json;as=Nope;v=v1;g=meta.k8s.io", None),
            ("application/*", None),
            ("APPLICATION/JSON", None),
            ("json", None),
        ];
        for (accept, expected) in cases {
            let got = negotiate(accept, Offer::Objects, false).ok().map(|media| match media.shape {
                Shape::Table(_) => "table",
                _ if media.yaml => "yaml",
                _ => "json",
            });
            assert_eq!(got, expected, "case: {accept}");
        }
    }
}
