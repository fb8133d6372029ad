//! Objects from files, folders and standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use coracle_api::document::{Limits, yaml};
use serde_json::Value;

use crate::print::remark;

/// Reads every object that the arguments of `-f` name.
///
/// # Errors
/// A file that cannot be read or holds no objects; an address on the network.
pub fn read(sources: &[String]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for source in sources {
        if source.starts_with("http://") || source.starts_with("https://") {
            bail!(
                "{source} is an address, and coracle fetches nothing; use: curl -sSL {source} | coracle apply -f -"
            );
        }
        if source == "-" {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).context("cannot read standard input")?;
            objects.extend(parse(&text).context("standard input")?);
            continue;
        }
        for file in files(Path::new(source))? {
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            objects.extend(parse(&text).with_context(|| file.display().to_string())?);
        }
    }
    if objects.is_empty() {
        bail!("no objects in {}", sources.join(", "));
    }
    // What others live in comes first, whatever the files are called.
    objects.sort_by_key(|o| !matches!(o["kind"].as_str(), Some("Namespace" | "CustomResourceDefinition")));
    Ok(objects)
}

/// A file, or the manifests of a folder, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let manifest = |p: &PathBuf| {
        p.is_file() && matches!(p.extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json"))
    };
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(manifest).collect();
    files.sort();
    if files.is_empty() {
        bail!("no .yaml, .yml or .json files in {}", path.display());
    }
    Ok(files)
}

/// Documents of YAML, of which JSON is one; empty ones are skipped and lists taken apart.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    // The reader of the API server, so that a manifest means the same on both sides.
    for document in yaml::documents(text, Limits::of_file(text)) {
        let document = document.map_err(|fault| anyhow!("{fault}"))?;
        for fault in &document.repeated {
            remark!("warning: {fault}");
        }
        match document.value.into_value() {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").and_then(Value::as_str) == Some("List") => {
                match list.shift_remove("items") {
                    Some(Value::Array(items)) => objects.extend(items),
                    _ => bail!("a List without items"),
                }
            }
            object @ Value::Object(_) => objects.push(object),
            _ => bail!("not an object; a manifest is a map with apiVersion, kind and metadata"),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> String {
        let all = parse(text).expect("manifests");
        all.iter().map(|o| o["kind"].as_str().unwrap_or("?").to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn documents_and_lists() {
        assert_eq!(kinds("kind: A\n---\n---\n# nothing\n---\nkind: B\n"), "A B");
        assert_eq!(kinds("{\"kind\":\"List\",\"items\":[{\"kind\":\"A\"},{\"kind\":\"B\"}]}"), "A B");
        assert!(parse("- a").is_err());
    }

    #[test]
    fn a_manifest_means_what_the_server_would_read() {
        let text = "kind: A\nspec:\n  mode: 0444\n  all: 0777\n  replicas: 08\n  on: yes\n  text: '08'\n---\nkind: B\n<<: &x {a: 1}\nb: *x\n";
        let objects = parse(text).expect("two objects");
        assert_eq!(
            objects[0]["spec"],
            serde_json::json!({"mode": 292, "all": 511, "replicas": 8, "true": true, "text": "08"})
        );
        assert_eq!(objects[1], serde_json::json!({"kind": "B", "a": 1, "b": {"a": 1}}));
        let wrong = parse("kind: A\n---\nkind: [").expect_err("no YAML");
        assert_eq!(wrong.to_string(), "yaml: line 3: did not find expected node content");
    }

    #[test]
    fn folders_in_order_and_namespaces_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a file");
        write("1.yaml", "kind: Pod");
        write("2.yml", "kind: Namespace");
        write("3.txt", "kind: Not");
        let all = read(&[dir.path().display().to_string()]).expect("two objects");
        assert_eq!((all.len(), all[0]["kind"].as_str()), (2, Some("Namespace")));
        assert!(read(&["https://example.com/x.yaml".into()]).is_err_and(|e| e.to_string().contains("curl")));
    }
}
