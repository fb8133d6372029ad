//! The table of kinds. Discovery, routes, tables, OpenAPI, decoding, defaulting and validation all derive from a row:
//! adding a kind is adding a row (see `docs/adding-a-kind.md`).

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use serde_json::Value;

use crate::field::Errors;
use crate::handle::{Handle, Text};
use crate::names;
use crate::schema::{Schema, SchemaRef};
use crate::table::Table;
use crate::table::path::JsonPath;

mod selectable;

pub use selectable::{Read, Selectable};

/// A row of the table: built in, or made at run time.
pub type KindRef = Handle<Kind>;

/// Everything that the server knows about one kind.
///
/// What names it is read through methods: [`Kind::group`], [`Kind::plural`] and so on.
pub struct Kind {
    /// API group; empty for the core group.
    pub group: Text,
    /// API version within the group, such as `v1`.
    pub version: Text,
    /// `Pod`.
    pub kind: Text,
    /// `pods`.
    pub plural: Text,
    /// `pod`.
    pub singular: Text,
    /// Words with spaces between them: `po`.
    pub short_names: Text,
    /// Words with spaces between them: `all`.
    pub categories: Text,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// The schema of the type, such as `io.k8s.api.core.v1.Pod`.
    pub schema: SchemaRef,
    /// What may be done with the resource itself, sorted, as discovery shows it.
    pub verbs: &'static [&'static str],
    /// How `metadata.name` must look.
    pub name_rule: names::NameRule,
    /// `status`, `scale` and the like, sorted.
    pub subresources: Cow<'static, [Subresource]>,
    /// Fields that a field selector may name, beside `metadata.name` and `metadata.namespace`.
    pub selectable: Cow<'static, [Selectable]>,
    /// What a client sees when it asks for a table.
    pub table: Handle<Table>,
    /// What happens to an object on its way in.
    pub strategy: &'static Strategy,
    /// Set where objects of this kind are kept as another kind, and this one is only how they are shown.
    pub view: Option<&'static View>,
    /// Where `/scale` reads and writes, if not at the usual places.
    pub scale: Option<ScalePaths>,
    /// Where in its objects the spec of pods stands, as a JSON pointer; of a pod itself `/spec`.
    pub pod_spec: Option<&'static str>,
    /// What only one object of the kind may hold, if there is any such thing.
    pub claims: Option<Exclusive>,
    /// How its objects are deleted.
    pub deletion: Deletion,
    /// Whether its objects are deleted with their last owner. Kinds with very many short-lived objects are left out.
    pub collected: bool,
    /// Where the row comes from.
    pub origin: Origin,
}

/// What only one object may hold (ADR 27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusive {
    /// Addresses of the range for Services, and ports of nodes, which the server finds for them.
    ServiceAddresses,
    /// Ranges of the cluster's network, from which nodes give their pods addresses; each node proposes its own.
    PodRanges,
}

/// How objects are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// At once, unless finalizers hold them.
    AtOnce,
    /// As pods are: their node gets time to end their containers first.
    Graceful,
    /// As namespaces are: their content is deleted first, and `spec.finalizers` hold them, too.
    Emptied,
}

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program.
    BuiltIn,
    /// A definition, at run time.
    Definition,
    /// Neither: the row stands for a kind that is not defined ([`Kind::unknown`]).
    Unknown,
}

/// How objects that are kept as one kind are shown as another, such as events of the core group as `events.k8s.io`.
///
/// What is kept, watched, printed in tables, defaulted and validated is always the stored form: only documents on their
/// way in and out pass here. The row of the view has its own schema, fields of selectors (read from the stored form) and
/// rules (which look at the stored form, too).
pub struct View {
    /// The kind that is kept.
    pub of: &'static Kind,
    /// From the shown form to the stored form.
    pub store: fn(Value) -> Value,
    /// From the stored form to the shown form.
    pub show: fn(Value) -> Value,
}

/// Where `/scale` reads and writes, if not at the usual places of workloads: `spec.replicas`, `status.replicas` and
/// `spec.selector`.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    /// How many are wanted.
    pub wanted: JsonPath,
    /// How many there are.
    pub found: JsonPath,
    /// The label selector of what is scaled, as text.
    pub selector: Option<JsonPath>,
}

/// A path below an object.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    /// `scale`.
    pub name: &'static str,
    /// The group, version and kind that it reads and writes, where they are not the resource's own.
    pub gvk: Option<(&'static str, &'static str, &'static str)>,
    /// Its verbs, sorted, as discovery shows them.
    pub verbs: &'static [&'static str],
    /// What a write to it does to the object, where it is not that of `/status`.
    pub write: Option<&'static SubresourceWrite>,
    /// Fields that a write to it does not touch, so that its writer does not come to own them.
    pub resets: &'static [&'static str],
    /// Whether the node that runs the object answers, over its line to the server.
    pub by_node: bool,
}

impl Subresource {
    /// One that nobody can do anything with: rows say what differs.
    pub const PLAIN: Subresource =
        Subresource { name: "", gvk: None, verbs: &[], write: None, resets: &[], by_node: false };
}

/// What a write to a subresource does to its object. All pure.
#[derive(Debug)]
pub struct SubresourceWrite {
    /// Keeps everything that the subresource may not touch. (new, old)
    pub prepare: fn(&Kind, &mut Value, &Value),
    /// Its rules. (new, old)
    pub validate: CheckChange,
}

/// Looks at a new object of a kind and notes what is wrong with it.
pub type Check = fn(&Kind, &Value, &mut Errors);

/// Looks at a changed object of a kind and at what it was before, and notes what is wrong with the change. (new, old)
pub type CheckChange = fn(&Kind, &Value, &Value, &mut Errors);

/// What a schema cannot say of a kind: what upstream calls its strategy. All pure.
pub struct Strategy {
    /// Fills in what depends on other fields, after the constants of `data/defaults.txt`; must be idempotent.
    pub default: fn(&Kind, &mut Value),
    /// Puts a new object in order before validation: drops its status, sets its generation.
    pub prepare_create: fn(&Kind, &mut Value),
    /// Puts a changed object in order: keeps the old status, bumps the generation. (new, old)
    pub prepare_update: fn(&Kind, &mut Value, &Value),
    /// The same for a write to `/status`: keeps everything but the status. (new, old)
    pub prepare_status_update: fn(&Kind, &mut Value, &Value),
    /// Every rule for a new object, those for `metadata` included: see `Kind::check_metadata`.
    pub validate: Check,
    /// Every rule for a change, those for a new object included where upstream repeats them. (new, old)
    pub validate_update: CheckChange,
    /// Rules for a write to `/status`. (new, old)
    pub validate_status_update: CheckChange,
    /// Texts for `Warning:` headers about a new object that are sent even if it is then refused.
    pub early_warnings: fn(&Kind, &Value) -> Vec<String>,
    /// Texts for `Warning:` headers about an object that is nevertheless accepted. (new, old if there is one)
    pub warnings: fn(&Kind, &Value, Option<&Value>) -> Vec<String>,
    /// Whether a PUT or an apply patch of an object that does not exist creates it.
    pub create_on_update: bool,
    /// Whether a PUT without `resourceVersion` overwrites, rather than being refused.
    pub unconditional_update: bool,
    /// What a plain delete answers: the object (pods, services), or a `Status` (most others).
    pub delete_answers_object: bool,
}

impl Kind {
    /// The handle of a built-in row.
    pub const fn handle(&'static self) -> KindRef {
        Handle::Static(self)
    }

    /// Whether this row was made from a definition, at run time.
    pub fn is_defined(&self) -> bool {
        self.origin == Origin::Definition
    }

    /// The media types of patches that its objects take. What is defined at run time tells no merge keys, which strategic
    /// patches are about.
    pub fn patch_types(&self) -> &'static [&'static str] {
        const TYPES: [&str; 4] = [
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "application/strategic-merge-patch+json",
        ];
        if self.is_defined() { &TYPES[..3] } else { &TYPES }
    }

    /// Whether its objects are pods, rather than something that makes pods from a template.
    pub fn is_pod(&self) -> bool {
        self.pod_spec == Some("/spec")
    }

    /// Fields that a write does not touch, to the object itself or to one of its subresources.
    pub fn resets(&self, sub: Option<&str>) -> &'static [&'static str] {
        match sub {
            None if self.has_subresource("status") => &["status"],
            None => &[],
            Some(sub) => self.subresource(sub).map_or(&[], |row| row.resets),
        }
    }

    /// Whether its objects go with their last owner.
    pub fn is_collected(&self) -> bool {
        self.collected
    }

    /// Whether this row is a placeholder for one that is not there.
    pub fn is_unknown(&self) -> bool {
        self.origin == Origin::Unknown
    }

    /// API group; empty for the core group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// API version within the group, such as `v1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// `Pod`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// `pods`.
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// `pod`.
    pub fn singular(&self) -> &str {
        &self.singular
    }

    /// `po`.
    pub fn short_names(&self) -> impl Iterator<Item = &str> {
        self.short_names.split_whitespace()
    }

    /// `all`.
    pub fn categories(&self) -> impl Iterator<Item = &str> {
        self.categories.split_whitespace()
    }

    /// The schema of its objects.
    pub fn schema(&self) -> &Schema {
        self.schema.get()
    }

    /// Whether it has a subresource of this name.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresource(name).is_some()
    }

    /// Its subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// `deployments.apps`, or `pods`.
    pub fn qualified_resource(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// `Deployment.apps`, or `Pod`.
    pub fn qualified_kind(&self) -> String {
        qualified(&self.kind, &self.group)
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        let (group, version) = (self.group(), self.version());
        if group.is_empty() { version.into() } else { format!("{group}/{version}") }
    }
}

/// What tells kinds apart, in the order of groups.
fn identity(kind: &Kind) -> (&str, &str, &str) {
    (&kind.group, &kind.plural, &kind.version)
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.into() } else { format!("{name}.{group}") }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        identity(self) == identity(other)
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Kind) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Kind) -> std::cmp::Ordering {
        identity(self).cmp(&identity(other))
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        identity(self).hash(state);
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.qualified_resource())
    }
}
