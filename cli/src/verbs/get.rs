//! `coracle get`: objects as tables, JSON or YAML, once or for as long as they change.

use anyhow::{Result, bail};
use futures::{AsyncBufReadExt, StreamExt};
use serde_json::{Value, json};

use crate::print::table::{Table, WIDTH, line};
use crate::print::terminal::one_line;
use crate::print::{print_document, remark, say};
use crate::server::connection::{Connection, Target};
use crate::server::kinds::{Catalogue, Selected, selected};
use crate::server::rest::{TABLE, escape};

/// Show objects, one or many.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle get pods                  pods of the namespace
  coracle get pods -A -o wide       pods of all namespaces, with their nodes
  coracle get deploy/web -o yaml    one object, whole
  coracle get pods -l app=web -w    follow the pods of an application")]
pub struct Get {
    /// What: KIND, KIND NAME..., or KIND/NAME...
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// In what form: wide, yaml, json or name
    #[arg(long, short, value_enum)]
    output: Option<Output>,
    /// Go on showing what changes
    #[arg(long, short)]
    watch: bool,
    /// In all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only those with these labels, such as app=web,tier!=db
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// Only those with these fields, such as spec.nodeName=node-1
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
    /// Do not print the headings
    #[arg(long)]
    no_headers: bool,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Wide,
    Yaml,
    Json,
    Name,
}

/// Runs the command.
///
/// # Errors
/// The server says no, or what is asked for makes no sense.
pub async fn run(args: Get, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let selected = selected(&catalogue, &args.what)?;
    if args.watch && selected.len() > 1 {
        bail!("watch one kind or one object at a time");
    }
    match args.output {
        None | Some(Output::Wide) => tables(&args, &selected, connection).await,
        Some(output) if args.watch => bail!("--watch shows tables; leave out -o {}", word(output)),
        Some(Output::Name) => {
            for (ask, object) in objects(&args, &selected, connection).await? {
                say!("{}/{}", ask.kind.title(), object["metadata"]["name"].as_str().unwrap_or_default());
            }
            Ok(())
        }
        Some(output) => whole(&args, &selected, output, connection).await,
    }
}

fn word(output: Output) -> &'static str {
    match output {
        Output::Wide => "wide",
        Output::Yaml => "yaml",
        Output::Json => "json",
        Output::Name => "name",
    }
}

impl Get {
    /// The path that answers, with the query.
    fn path(&self, ask: &Selected, connection: &Connection, more: &str) -> String {
        let namespace = (!self.all_namespaces).then_some(connection.namespace.as_str());
        let path = ask.kind.list_path(namespace);
        let mut query: Vec<String> = Vec::new();
        if let Some(labels) = &self.selector {
            query.push(format!("labelSelector={}", escape(labels)));
        }
        if let Some(fields) = &self.field_selector {
            query.push(format!("fieldSelector={}", escape(fields)));
        }
        if !more.is_empty() {
            query.push(more.into());
        }
        let name = ask.name.as_ref().map(|n| format!("/{n}")).unwrap_or_default();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        format!("{path}{name}{query}")
    }
}

async fn tables(args: &Get, selected: &[Selected], connection: &Connection) -> Result<()> {
    let (mut shown, mut failed) = (0, None);
    let kinds = selected.iter().map(|a| &a.kind.plural).collect::<std::collections::BTreeSet<_>>().len();
    let mut merged: Option<(String, Shown)> = None;
    for ask in selected {
        let answer = match connection.get_as(&args.path(ask, connection, ""), TABLE).await {
            Ok(answer) => answer,
            Err(error) if selected.len() > 1 => {
                remark!("coracle: {error:#}");
                failed = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let table = Shown::new(&answer, args, ask, kinds > 1);
        shown += table.table.rows.len();
        merged = Some(match merged.take() {
            Some((kind, mut before)) if kind == ask.kind.plural => {
                before.table.rows.extend(table.table.rows);
                (kind, before)
            }
            before => {
                if let Some((_, before)) = before {
                    before.print(args);
                    if !before.table.rows.is_empty() {
                        say!("");
                    }
                }
                (ask.kind.plural.clone(), table)
            }
        });
    }
    if let Some((_, last)) = &merged {
        last.print(args);
        if args.watch {
            return follow(args, &selected[0], last, connection).await;
        }
    }
    if shown == 0 && failed.is_none() {
        if args.all_namespaces || selected.iter().all(|a| !a.kind.namespaced) {
            remark!("No resources found");
        } else {
            remark!("No resources found in {} namespace.", connection.namespace);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A server's table as it is printed.
struct Shown {
    /// Which of the server's columns are shown.
    columns: Vec<usize>,
    table: Table,
    revision: String,
    namespace: bool,
    prefix: String,
    width: usize,
}

impl Shown {
    fn new(answer: &Value, args: &Get, ask: &Selected, prefixed: bool) -> Shown {
        let wide = args.output == Some(Output::Wide);
        let empty = Vec::new();
        let definitions = answer["columnDefinitions"].as_array().unwrap_or(&empty);
        let columns: Vec<usize> = (0..definitions.len())
            .filter(|i| wide || definitions[*i]["priority"].as_i64().unwrap_or(0) == 0)
            .collect();
        let mut head: Vec<String> = columns
            .iter()
            .map(|i| definitions[*i]["name"].as_str().unwrap_or_default().to_uppercase())
            .collect();
        let namespace = args.all_namespaces && ask.kind.namespaced;
        if namespace {
            head.insert(0, "NAMESPACE".into());
        }
        let prefix = if prefixed { format!("{}/", ask.kind.title()) } else { String::new() };
        let mut shown = Shown {
            columns,
            table: Table { head, rows: Vec::new() },
            revision: answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().into(),
            namespace,
            prefix,
            width: if wide { usize::MAX } else { WIDTH },
        };
        shown.table.rows = shown.rows(answer);
        shown
    }

    fn rows(&self, answer: &Value) -> Vec<Vec<String>> {
        let rows = answer["rows"].as_array().into_iter().flatten();
        rows.map(|row| {
            let mut cells: Vec<String> = self.columns.iter().map(|i| cell(&row["cells"][*i])).collect();
            if let Some(name) = cells.first_mut() {
                name.insert_str(0, &self.prefix);
            }
            if self.namespace {
                cells.insert(0, cell(&row["object"]["metadata"]["namespace"]));
            }
            cells
        })
        .collect()
    }

    fn print(&self, args: &Get) {
        if self.table.rows.is_empty() && !args.watch {
            return;
        }
        for line in self.table.lines(self.width).iter().skip(usize::from(args.no_headers)) {
            say!("{line}");
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Prints rows as they change, in the columns of the first table.
async fn follow(args: &Get, ask: &Selected, shown: &Shown, connection: &Connection) -> Result<()> {
    let more = format!("watch=true&resourceVersion={}", escape(&shown.revision));
    // A watch is of a list; one object is a list of one.
    let (ask, more) = match &ask.name {
        Some(name) => {
            let all = Selected { kind: ask.kind.clone(), name: None };
            (all, format!("{more}&fieldSelector=metadata.name%3D{}", escape(name)))
        }
        None => (Selected { kind: ask.kind.clone(), name: None }, more),
    };
    let widths = shown.table.widths(shown.width);
    let stream = connection.stream(&args.path(&ask, connection, &more), TABLE).await?;
    let mut lines = stream.lines();
    while let Some(event) = lines.next().await {
        let event: Value = serde_json::from_str(&event?)?;
        match event["type"].as_str() {
            Some("ERROR") => bail!("{}", event["object"]["message"].as_str().unwrap_or("the watch ended")),
            Some("BOOKMARK") => {}
            _ => {
                for row in shown.rows(&event["object"]) {
                    // Later rows may need more room than the first table gave; none is cut for it.
                    let room: Vec<usize> =
                        row.iter().zip(&widths).map(|(c, w)| one_line(c).chars().count().max(*w)).collect();
                    say!("{}", line(&row, &room));
                }
            }
        }
    }
    Ok(())
}

/// Every object asked for, with what asked for it.
async fn objects<'a>(
    args: &Get,
    selected: &'a [Selected],
    connection: &Connection,
) -> Result<Vec<(&'a Selected, Value)>> {
    let mut all = Vec::new();
    for ask in selected {
        let answer = connection.get(&args.path(ask, connection, "")).await?;
        if ask.name.is_some() {
            all.push((ask, answer));
            continue;
        }
        for item in answer["items"].as_array().into_iter().flatten() {
            let mut object = json!({
                "apiVersion": answer["apiVersion"],
                "kind": answer["kind"].as_str().unwrap_or_default().trim_end_matches("List"),
            });
            if let (Some(object), Some(item)) = (object.as_object_mut(), item.as_object()) {
                object.extend(item.clone());
            }
            all.push((ask, object));
        }
    }
    Ok(all)
}

async fn whole(args: &Get, selected: &[Selected], output: Output, connection: &Connection) -> Result<()> {
    let mut objects: Vec<Value> =
        objects(args, selected, connection).await?.into_iter().map(|(_, o)| o).collect();
    for object in &mut objects {
        // Who set which field: of interest to servers, and longer than the rest.
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.shift_remove("managedFields");
        }
    }
    let value = match (objects.len(), selected) {
        (1, [Selected { name: Some(_), .. }]) => objects.remove(0),
        _ => {
            json!({ "apiVersion": "v1", "kind": "List", "items": objects, "metadata": { "resourceVersion": "" } })
        }
    };
    match output {
        Output::Yaml => print_document(serde_saphyr::to_string(&value)?.trim_end()),
        _ => print_document(&serde_json::to_string_pretty(&value)?),
    }
    Ok(())
}
