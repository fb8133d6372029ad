//! The options in a query: what a list, a watch or a write asks for, with upstream's checks.

use coracle_api::field::Fault;
use coracle_api::selector::{FieldSelector, Selector};
use coracle_api::status::{Cause, Details};
use coracle_api::{Errors, Path, Revision, Status};

use crate::http::query::Query;
use crate::state::list::ListOptions;
use crate::write::operation::FieldValidation;

/// What a list or a watch asks for.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// A watch rather than a list.
    pub watch: bool,
    /// `labelSelector`.
    pub labels: String,
    /// `fieldSelector`.
    pub fields: String,
    /// `resourceVersion`, as given.
    pub revision: String,
    /// `resourceVersionMatch`.
    pub matching: String,
    /// `limit`; 0: all.
    pub limit: i64,
    /// `continue`.
    pub continue_token: String,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<i64>,
    /// `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// `sendInitialEvents`.
    pub initial_events: Option<bool>,
}

impl ListQuery {
    /// Reads and checks the options of a list or a watch.
    ///
    /// # Errors
    /// 400 for what does not parse, 422 for what does not go together.
    pub fn read(query: &Query, watch_path: bool) -> Result<ListQuery, Status> {
        let timeout_seconds = query.int("timeoutSeconds")?;
        let list = ListQuery {
            watch: watch_path || query.flag("watch"),
            labels: query.text("labelSelector").into(),
            fields: query.text("fieldSelector").into(),
            revision: query.text("resourceVersion").into(),
            matching: query.text("resourceVersionMatch").into(),
            limit: query.int("limit")?.unwrap_or(0),
            continue_token: query.text("continue").into(),
            timeout_seconds,
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        // What cannot be read is told before what does not go together.
        Selector::parse(&list.labels).map_err(Status::bad_request)?;
        FieldSelector::parse(&list.fields).map_err(Status::bad_request)?;
        let mut errors = Errors::new();
        if list.watch {
            list.check_watch(&mut errors)
        } else {
            list.check_list(&mut errors)
        }
        if errors.is_empty() { Ok(list) } else { Err(invalid_options("ListOptions", &errors)) }
    }

    fn check_list(&self, errors: &mut Errors) {
        let matching = Path::root("resourceVersionMatch");
        if !self.matching.is_empty() {
            if self.revision.is_empty() {
                errors.forbidden(
                    &matching,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                );
            }
            if !self.continue_token.is_empty() {
                errors.forbidden(&matching, "resourceVersionMatch is forbidden when continue is provided");
            }
            if !["Exact", "NotOlderThan"].contains(&self.matching.as_str()) {
                unsupported(errors, &matching, &self.matching, &["Exact", "NotOlderThan", ""]);
            }
            if self.matching == "Exact" && self.revision == "0" {
                errors.forbidden(
                    &matching,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                );
            }
        }
        if self.initial_events.is_some() {
            let at = Path::root("sendInitialEvents");
            errors.forbidden(&at, "sendInitialEvents is forbidden for list");
        }
    }

    fn check_watch(&self, errors: &mut Errors) {
        let matching = Path::root("resourceVersionMatch");
        if self.initial_events.is_some() && self.matching != "NotOlderThan" {
            errors.forbidden(
                &matching,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if !self.matching.is_empty() {
            if self.initial_events.is_none() {
                errors.forbidden(
                    &matching,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            if self.matching != "NotOlderThan" {
                unsupported(errors, &matching, &self.matching, &["NotOlderThan"]);
            }
        }
        // A watch from no revision, or from 0, is one that asks for initial events, and so for a match.
        let from_any = self.initial_events.is_none() && matches!(self.revision.as_str(), "" | "0");
        if !self.continue_token.is_empty() && (from_any || !self.matching.is_empty()) {
            errors.forbidden(&matching, "resourceVersionMatch is forbidden when continue is provided");
        }
    }

    /// What a list asks of the registry.
    ///
    /// # Errors
    /// 400 for a revision that is no number, or one beside a token.
    pub fn options(&self) -> Result<ListOptions, Status> {
        if !self.continue_token.is_empty() && !matches!(self.revision.as_str(), "" | "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let revision = read_revision(&self.revision)
            .map_err(|text| Status::bad_request(format!("invalid resource version: {text}")))?;
        let revision = revision.filter(|revision| revision.0 > 0);
        // Before `resourceVersionMatch` came, a limit meant: exactly this revision.
        let exact =
            self.matching == "Exact" || (self.matching.is_empty() && self.limit > 0 && revision.is_some());
        Ok(ListOptions {
            limit: usize::try_from(self.limit).unwrap_or(0),
            continue_token: self.continue_token.clone(),
            revision,
            exact,
        })
    }
}

/// Reads a `resourceVersion`.
///
/// # Errors
/// Upstream's text, which contains that of Go's parser.
pub fn read_revision(text: &str) -> Result<Option<Revision>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let why = if digits { "value out of range" } else { "invalid syntax" };
    let error =
        format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}");
    if !digits {
        return Err(error);
    }
    text.parse().map(|number| Some(Revision(number))).map_err(|_| error)
}

/// What every write asks for.
#[derive(Clone, Debug, Default)]
pub struct WriteQuery {
    /// `dryRun=All`.
    pub dry_run: bool,
    /// `fieldManager`.
    pub field_manager: String,
    /// `fieldValidation`.
    pub field_validation: FieldValidation,
}

impl WriteQuery {
    /// Reads and checks the options of a create, an update or a patch; `apply`: an apply patch.
    ///
    /// # Errors
    /// 422, under the name of the options' type.
    pub fn read(query: &Query, options: &str, apply: bool) -> Result<WriteQuery, Status> {
        let mut errors = Errors::new();
        let force = query.get("force").map(|_| query.flag("force"));
        let manager = query.text("fieldManager");
        if options == "PatchOptions" {
            if apply {
                if manager.is_empty() {
                    errors.required(&Path::root("fieldManager"), "is required for apply patch");
                }
            } else if force.is_some() {
                errors.forbidden(&Path::root("force"), "may not be specified for non-apply patch");
            }
        }
        check_manager(manager, &mut errors);
        let dry_run = query.all("dryRun");
        check_dry_run(&dry_run, &mut errors);
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let at = Path::root("fieldValidation");
                unsupported(&mut errors, &at, other, &["", "Ignore", "Strict", "Warn"]);
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(invalid_options(options, &errors));
        }
        Ok(WriteQuery { dry_run: !dry_run.is_empty(), field_manager: manager.into(), field_validation })
    }
}

fn check_manager(manager: &str, errors: &mut Errors) {
    let at = Path::root("fieldManager");
    if manager.len() > 128 {
        errors.too_long(&at, 128);
    }
    for (index, c) in manager.char_indices() {
        if !is_printable(c) {
            let detail = format!("invalid character U+{:04X} (at position {index})", u32::from(c));
            errors.other(&at, Fault::Invalid, format!("Invalid value: {}: {detail}", go_quoted(manager)));
        }
    }
}

/// Go's `unicode.IsPrint`: graphic characters and the plain space. Rust's own notion, by which it escapes strings, is the same;
/// after another character it does not escape combining ones.
fn is_printable(c: char) -> bool {
    !c.is_control() && !format!("a{c}").escape_debug().to_string().ends_with('}') || c == '}'
}

/// A string as Go's `%q` prints it.
fn go_quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() && u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// `dryRun`: the one value there is.
pub fn check_dry_run(values: &[&str], errors: &mut Errors) {
    if values.iter().any(|value| *value != "All") {
        let list = format!("{values:?}");
        let at = Path::root("dryRun");
        errors.other(
            &at,
            Fault::NotSupported,
            format!("Unsupported value: {}: supported values: \"All\"", list.replace(", ", ",")),
        );
    }
}

/// `Unsupported value`, the supported ones in the order of upstream's code.
pub fn unsupported(errors: &mut Errors, at: &Path<'_>, value: &str, supported: &[&str]) {
    let names: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
    let body = format!("Unsupported value: {value:?}: supported values: {}", names.join(", "));
    errors.other(at, Fault::NotSupported, body);
}

/// 422 for options: they have a kind and a group, but no name.
pub fn invalid_options(options: &str, errors: &Errors) -> Status {
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    let all = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
    let causes = errors.0.iter().map(|e| Cause {
        reason: e.fault.reason(),
        message: e.body.clone(),
        field: e.field.clone(),
    });
    Status::failure(422, "Invalid", format!("{options}.meta.k8s.io \"\" is invalid: {all}")).with_details(
        Details {
            group: "meta.k8s.io".into(),
            kind: options.into(),
            causes: causes.collect(),
            ..Details::default()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields that are complained of, or the text of what cannot be read.
    fn list(query: &str) -> Result<(), Vec<String>> {
        ListQuery::read(&Query::parse(query), false).map(drop).map_err(|status| match status.details {
            Some(details) => details.causes.into_iter().map(|cause| cause.field).collect(),
            None => vec![status.message],
        })
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let matching = "resourceVersionMatch";
        let cases: [(&str, &[&str]); 12] = [
            ("resourceVersionMatch=Exact", &[matching]),
            ("resourceVersionMatch=Exact&resourceVersion=0", &[matching]),
            ("resourceVersionMatch=Any", &[matching, matching]),
            ("sendInitialEvents=false", &["sendInitialEvents"]),
            ("resourceVersionMatch=NotOlderThan&resourceVersion=5&limit=2", &[]),
            ("watch=1&sendInitialEvents=true", &[matching]),
            ("watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", &[]),
            ("watch=1&continue=x", &[matching]),
            ("watch=1&continue=x&resourceVersion=5", &[]),
            ("watch=1&resourceVersionMatch=Exact", &[matching, matching]),
            (
                "labelSelector=a+in+(&sendInitialEvents=true",
                &["unable to parse requirement: found '', expected: ',', ')' or identifier"],
            ),
            ("limit=x&timeoutSeconds=y", &["strconv.ParseInt: parsing \"y\": invalid syntax"]),
        ];
        for (query, expected) in cases {
            let got = list(query).err().unwrap_or_default();
            assert_eq!(got, expected, "case: {query}");
        }
    }

    #[test]
    fn names_of_managers_are_printable() {
        let fault = |manager: &str| {
            let mut errors = Errors::new();
            check_manager(manager, &mut errors);
            errors.0.first().map(|error| error.body.clone())
        };
        for fine in ["", "kubectl", "a b", "é", "日本", "e\u{301}", "{}", "\u{1f6a3}"] {
            assert_eq!(fault(fine), None, "{fine}");
        }
        let cases = [
            ("a\nb", r#"Invalid value: "a\nb": invalid character U+000A (at position 1)"#),
            ("a\u{200b}", r#"Invalid value: "a\u200b": invalid character U+200B (at position 1)"#),
            ("\u{a0}", r#"Invalid value: "\u00a0": invalid character U+00A0 (at position 0)"#),
            ("\u{e0001}", r#"Invalid value: "\U000e0001": invalid character U+E0001 (at position 0)"#),
        ];
        for (manager, text) in cases {
            assert_eq!(fault(manager).as_deref(), Some(text));
        }
        assert!(fault(&"m".repeat(129)).is_some());
    }
}
