//! JSON, YAML and protobuf bodies, and the other texts that clients send.

use coracle_api::Kind;
use coracle_api::decode::{FieldValidation, Format, Target, decode};
use coracle_api::document::yaml;
use coracle_api::internal::diff;
use coracle_api::kinds::{CONFIG_MAP, DEPLOYMENT, POD};
use coracle_api::quantity::Quantity;
use coracle_api::selector::{FieldSelector, Selector};
use serde_json::{Value, json};

use crate::measure::Growth;

/// So many texts, made from their number, one after the other.
fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

fn list(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(",")
}

fn read(
    growth: &mut Growth,
    name: &str,
    kind: &Kind,
    format: Format,
    size: usize,
    text: impl Fn(usize) -> String,
) {
    for validation in [FieldValidation::Ignore, FieldValidation::Warn, FieldValidation::Strict] {
        growth.of(
            &format!("{format:?} {name} {validation:?}"),
            size,
            |n| text(n).into_bytes(),
            |body| decode(&Target::of(kind), format, body, validation),
        );
    }
}

#[test]
fn json() {
    let mut growth = Growth::default();
    let mut pod = |name: &str, size: usize, text: &dyn Fn(usize) -> String| {
        read(&mut growth, name, &POD, Format::Json, size, |n| format!("{{\"spec\":{{{}}}}}", text(n)));
    };
    pod("containers", 128, &|n| {
        format!("\"containers\":[{}]", list(n, |i| format!("{{\"name\":\"c{i}\"}}")))
    });
    pod("empty containers", 256, &|n| format!("\"containers\":[{}]", list(n, |_| "{}".into())));
    pod("null containers", 256, &|n| format!("\"containers\":[{}]", list(n, |_| "null".into())));
    pod("containers of a wrong type", 256, &|n| format!("\"containers\":[{}]", list(n, |_| "5".into())));
    pod("unknown fields", 512, &|n| list(n, |i| format!("\"x{i}\":{i}")));
    pod("one unknown field", 512, &|n| list(n, |i| format!("\"x\":{i}")));
    pod("unknown fields of items", 128, &|n| {
        format!("\"containers\":[{}]", list(n, |_| "{\"x\":1,\"x\":2}".into()))
    });
    pod("one field again and again", 512, &|n| list(n, |i| format!("\"nodeName\":\"n{i}\"")));
    pod("one list again and again", 512, &|n| list(n, |_| "\"containers\":[{}]".into()));
    pod("one map again and again", 256, &|n| list(n, |i| format!("\"nodeSelector\":{{\"k{i}\":\"v\"}}")));
    pod("numbers", 512, &|n| {
        format!("\"securityContext\":{{\"supplementalGroups\":[{}]}}", list(n, |i| i.to_string()))
    });
    pod("quantities", 512, &|n| format!("\"overhead\":{{{}}}", list(n, |i| format!("\"r{i}\":\"{i}m\""))));
    let mut map = |name: &str, size: usize, text: &dyn Fn(usize) -> String| {
        read(&mut growth, name, &CONFIG_MAP, Format::Json, size, |n| format!("{{\"data\":{{{}}}}}", text(n)));
    };
    map("keys", 512, &|n| list(n, |i| format!("\"k{i}\":\"v\"")));
    map("one key", 512, &|n| list(n, |_| "\"k\":\"v\"".into()));
    map("a long text", 512, &|n| format!("\"k\":\"{}\"", "é\\n".repeat(n)));
    map("a long key", 512, &|n| format!("\"{}\":5", "k".repeat(n)));
    map("bytes", 512, &|n| format!("}},\"binaryData\":{{\"k\":\"{}\"", "YWJj".repeat(n)));
    read(&mut growth, "no JSON", &CONFIG_MAP, Format::Json, 512, |n| "[".repeat(n));
    read(&mut growth, "anything", &DEPLOYMENT, Format::Json, 256, |n| {
        let fields = list(n, |i| format!("\"f:{i}\":{{\".\":{{}}}}"));
        format!("{{\"metadata\":{{\"managedFields\":[{{\"fieldsV1\":{{{fields}}}}}]}}}}")
    });
    growth.finish(57);
}

#[test]
fn yaml_bodies() {
    let mut growth = Growth::default();
    let mut map = |name: &str, size: usize, text: &dyn Fn(usize) -> String| {
        read(&mut growth, name, &CONFIG_MAP, Format::Yaml, size, |n| {
            format!("apiVersion: v1\nkind: ConfigMap\n{}", text(n))
        });
    };
    map("keys", 256, &|n| format!("data:\n{}", many(n, |i| format!("  k{i}: v\n"))));
    map("keys in a line", 256, &|n| format!("data: {{{}}}\n", list(n, |i| format!(" k{i}: v"))));
    map("one key", 256, &|n| format!("data:\n{}", many(n, |_| "  k: v\n".into())));
    map("numbers", 256, &|n| format!("data: [{}]\n", list(n, |i| format!(" {i}"))));
    map("anchors", 256, &|n| format!("data:\n{}", many(n, |i| format!("  k{i}: &a{i} v\n"))));
    map("nested anchors", 128, &|n| {
        format!("data:\n{}", many(n, |i| format!("  k{i}: &a{i} [ &b{i} [ &c{i} {{ k: &d{i} v }} ] ]\n")))
    });
    map("wide anchors", 256, &|n| format!("data: &a [&b [&c [&d [{}]]]]\n", list(n, |i| format!(" {i}"))));
    map("aliases", 256, &|n| format!("x: &a v\ndata:\n{}", many(n, |i| format!("  k{i}: *a\n"))));
    map("aliases of lists", 100, &|n| {
        format!("x: &a [{}]\ndata: [{}]\n", list(10, |i| format!(" {i}")), list(n, |_| " *a".into()))
    });
    map("aliases that double", 2, &|n| {
        let level = |i: usize| format!("x{}: &a{} [ *a{i}, *a{i} ]\n", i + 1, i + 1);
        format!("x0: &a0 v\n{}", many(n * 4, level))
    });
    map("merges", 100, &|n| {
        let keys = list(10, |i| format!(" k{i}: v"));
        format!("x: &a {{{keys}}}\ndata:\n  <<: [{}]\n", list(n, |_| " *a".into()))
    });
    map("merges of merges", 200, &|n| {
        format!("x0: &a0 {{k: v}}\n{}", many(n, |i| format!("x{}: &a{} {{<<: *a{i}}}\n", i + 1, i + 1)))
    });
    map("comments", 512, &|n| many(n, |i| format!("# {i}\n")));
    map("comments behind", 256, &|n| format!("data:\n{}", many(n, |i| format!("  k{i}: v # {i}\n"))));
    map("a plain text", 256, &|n| format!("data:\n  k: {}\n", many(n, |i| format!("word {i}\n    "))));
    map("a quoted text", 256, &|n| {
        format!("data:\n  k: \"{}\"\n", many(n, |i| format!("word \\n {i}\n    ")))
    });
    map("a block", 256, &|n| format!("data:\n  k: |\n{}", many(n, |i| format!("    line {i}\n"))));
    map("a folded block", 256, &|n| format!("data:\n  k: >\n{}", many(n, |i| format!("    line {i}\n"))));
    map("empty lines", 1024, &|n| "\n".repeat(n));
    map("blanks", 1024, &|n| format!("data: {}\n", " ".repeat(n)));
    map("tags", 256, &|n| format!("data: [{}]\n", list(n, |i| format!(" !!str {i}"))));
    map("a tab", 256, &|n| format!("data:\n{}\tk: v\n", many(n, |i| format!("  k{i}: v\n"))));
    map("open brackets", 512, &|n| format!("data: {}", "[".repeat(n)));
    map("open braces", 512, &|n| format!("data: {}", "{".repeat(n)));
    map("dashes", 512, &|n| format!("data:\n{}", "- ".repeat(n)));
    map("question marks", 512, &|n| format!("data:\n{}", "? ".repeat(n)));
    map("directives", 256, &|n| many(n, |i| format!("%TAG !a{i}! tag:x,{i}:\n")));
    growth.of(
        "documents",
        128,
        |n| many(n, |i| format!("---\na: &x {i}\nb: *x\n")),
        |text: &String| yaml::documents(text, coracle_api::document::Limits::of_file(text)).count(),
    );
    growth.finish(80);
}

/// A counted piece as a protobuf field.
fn piece(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

#[test]
fn protobuf() {
    let mut growth = Growth::default();
    let mut pod = |name: &str, size: usize, message: &dyn Fn(usize) -> Vec<u8>| {
        let body = |n: usize| {
            let meta = [piece(1, b"v1"), piece(2, b"Pod")].concat();
            [b"k8s\0".to_vec(), piece(1, &meta), piece(2, &message(n))].concat()
        };
        let work = |body: &Vec<u8>| decode(&Target::of(&POD), Format::Protobuf, body, FieldValidation::Warn);
        growth.of(&format!("protobuf {name}"), size, body, work);
    };
    let many = |n: usize, one: &dyn Fn(usize) -> Vec<u8>| (0..n).flat_map(one).collect::<Vec<u8>>();
    pod("containers", 128, &|n| piece(2, &many(n, &|i| piece(2, &piece(1, format!("c{i}").as_bytes())))));
    pod("empty containers", 256, &|n| piece(2, &many(n, &|_| piece(2, b""))));
    pod("labels", 256, &|n| {
        let label = |i: usize| piece(11, &[piece(1, format!("k{i}").as_bytes()), piece(2, b"v")].concat());
        piece(1, &many(n, &label))
    });
    pod("one label", 256, &|n| {
        piece(1, &many(n, &|_| piece(11, &[piece(1, b"k"), piece(2, b"v")].concat())))
    });
    pod("one name", 512, &|n| piece(1, &many(n, &|i| piece(1, format!("n{i}").as_bytes()))));
    pod("one spec", 256, &|n| many(n, &|_| piece(2, &piece(2, b""))));
    pod("unknown fields", 512, &|n| many(n, &|_| piece(15, b"x")));
    pod("empty volumes", 256, &|n| piece(2, &many(n, &|_| piece(1, &piece(2, b"")))));
    pod("a long name", 512, &|n| piece(1, &piece(1, &b"n".repeat(n))));
    growth.finish(9);
}

#[test]
fn other_texts() {
    let mut growth = Growth::default();
    growth.of(
        "label selector",
        128,
        |n| list(n, |i| format!("k{i} in (a{i},b)")),
        |t: &String| Selector::parse(t),
    );
    growth.of(
        "values",
        256,
        |n| format!("k in ({})", list(n, |i| i.to_string())),
        |t: &String| Selector::parse(t),
    );
    growth.of("signs", 1024, |n| "=".repeat(n), |t: &String| Selector::parse(t));
    growth.of(
        "field selector",
        256,
        |n| list(n, |i| format!("spec.nodeName=a{i}")),
        |t: &String| {
            FieldSelector::parse(t).and_then(|s| s.for_kind(&POD)).map(|s| s.matches(&POD, &json!({})))
        },
    );
    growth.of("quantity", 1024, |n| "1".repeat(n), |t: &String| t.parse::<Quantity>().map(|q| q.to_string()));
    growth.of(
        "fraction",
        1024,
        |n| format!("0.{}1", "0".repeat(n)),
        |t: &String| t.parse::<Quantity>().map(|q| q.to_string()),
    );
    growth.of(
        "changed lines",
        512,
        |n| (many(n, |i| format!("a{i}\n")), many(n, |i| format!("b{i}\n"))),
        |(a, b): &(String, String)| diff::unified(a, b),
    );
    growth.of(
        "few changed lines",
        512,
        |n| (many(n, |i| format!("a{i}\n")), many(n, |i| format!("a{}\n", i + 1))),
        |(a, b): &(String, String)| diff::unified(a, b),
    );
    growth.of(
        "hunks",
        512,
        |n| {
            (
                many(n, |i| format!("a{i}\n")),
                many(n, |i| format!("{}{i}\n", if i % 20 == 0 { "b" } else { "a" })),
            )
        },
        |(a, b): &(String, String)| diff::unified(a, b),
    );
    let deep = |n: usize| (0..n).fold(json!("x"), |inner, _| json!([inner]));
    growth.of("writing nested lists", 10, deep, |value: &Value| yaml::write(value));
    growth.of(
        "writing keys",
        256,
        |n| (0..n).map(|i| (format!("k{i}"), json!("v"))).collect::<Value>(),
        |value: &Value| yaml::write(value),
    );
    growth.of(
        "writing a text",
        1024,
        |n| json!({"k": "word ".repeat(n)}),
        |value: &Value| yaml::write(value),
    );
    growth.of(
        "writing lines",
        1024,
        |n| json!({"k": "word\n".repeat(n)}),
        |value: &Value| yaml::write(value),
    );
    growth.finish(13);
}
