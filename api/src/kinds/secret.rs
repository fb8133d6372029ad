//! `Secret`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::configmap::{SIZE_MAX, decoded_size, frozen};
use super::strategy::PLAIN;
use super::{Borrowed, Named, Static, USUAL};
use crate::defaults::map_at;
use crate::document::{Raw, UNTYPED_MAP, json};
use crate::field::{Errors, Field};
use crate::kind::{Kind, Selectable, Strategy};
use crate::names;
use crate::read::text;
use crate::table::Cell::{Count, Text};
use crate::table::{Column, Table};
use crate::validate::rules;

/// The row of `Secret`.
pub static SECRET: Kind = Kind {
    kind: Borrowed("Secret"),
    plural: Borrowed("secrets"),
    singular: Borrowed("secret"),
    schema: Named("io.k8s.api.core.v1.Secret"),
    selectable: Borrowed(&[Selectable::text("type", &["/type"])]),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text("Type", "What its entries are for.", Text("/type")),
        Column::text("Data", "How many entries it has.", Count("/data")),
        Column::age(),
    ]),
    ..Table::PLAIN
};

static STRATEGY: Strategy = Strategy {
    default: |_, secret| default(secret),
    validate,
    validate_update,
    warnings: |_, new, old| warnings(new, old),
    ..PLAIN
};

/// `stringData` is for writing only: it ends up in `data`.
fn default(secret: &mut Value) {
    let plain = secret.as_object_mut().and_then(|secret| secret.shift_remove("stringData"));
    if let Some(Value::Object(plain)) = plain
        && let Some(data) = map_at(secret, "data")
    {
        let encoded = |value: Value| Value::from(BASE64.encode(value.as_str().unwrap_or_default()));
        data.extend(plain.into_iter().map(|(key, value)| (key, encoded(value))));
    }
    for value in secret.get_mut("data").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if value.is_null() {
            *value = "".into();
        }
    }
}

fn validate(kind: &Kind, secret: &Value, errors: &mut Errors) {
    kind.check_metadata(secret, errors);
    let data = Field::top(secret, "data");
    let mut size = 0;
    for (key, value) in data.entries() {
        errors.all_invalid(&value, key, names::config_key(key));
        size += decoded_size(value.text());
    }
    if size > SIZE_MAX {
        errors.too_long(&data, SIZE_MAX);
    }
    validate_type(secret, &data, errors);
}

/// What each of the well-known types must hold.
fn validate_type(secret: &Value, data: &Field<'_, '_>, errors: &mut Errors) {
    let lacks = |key: &str| data.value.get(key).is_none();
    match text(secret, "/type") {
        "kubernetes.io/service-account-token" => {
            let metadata = Field::top(secret, "metadata");
            let annotations = metadata.get("annotations");
            if annotations.str(ACCOUNT_NAME).is_empty() {
                errors.required(&annotations.key(ACCOUNT_NAME), "");
            }
        }
        "kubernetes.io/dockercfg" => validate_json(data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => validate_json(data, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if lacks("username") && lacks("password") => {
            errors.required(&data.key("username"), "");
            errors.required(&data.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if data.str("ssh-privatekey").is_empty() => {
            errors.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| lacks(key)) {
                errors.required(&data.key(key), "");
            }
        }
        _ => {}
    }
}

const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// The entry `key` must be a JSON object. It is secret, so the text of the error does not show it.
fn validate_json(data: &Field<'_, '_>, key: &str, errors: &mut Errors) {
    let Some(encoded) = data.value.get(key).and_then(Value::as_str) else {
        return errors.required(&data.key(key), "");
    };
    let bytes = BASE64.decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let fault = match json::parse(&text) {
        Err(fault) => fault.to_string(),
        Ok(Raw::Map(_) | Raw::Null) => return,
        Ok(other) => other.misfit(UNTYPED_MAP),
    };
    errors.invalid(&data.key(key), "<secret contents redacted>", &fault);
}

fn validate_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    rules::immutable(&Field::top(new, "type"), &Field::top(old, "type"), errors);
    frozen(new, old, &["data"], errors);
    validate(kind, new, errors);
}

/// Warns of a TLS secret without a certificate or a key in PEM. Whether the key belongs to the certificate is not
/// checked.
fn warnings(secret: &Value, _: Option<&Value>) -> Vec<String> {
    if text(secret, "/type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let has_block = |key: &str| {
        let bytes = BASE64.decode(text(&secret["data"], &format!("/{key}"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains("-----BEGIN ")
    };
    let inputs = [("tls.crt", "certificate"), ("tls.key", "key")];
    let missing = inputs.iter().find(|(key, _)| !has_block(key));
    missing
        .map(|(_, input)| format!("tls: failed to find any PEM data in {input} input"))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::SECRET;
    use serde_json::json;

    #[test]
    fn plain_strings_go_over_data() {
        let mut secret = json!({"data": {"a": "MQ=="}, "stringData": {"a": "2", "b": ""}});
        SECRET.fill_in(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "Mg==", "b": ""}, "type": "Opaque"}));
    }

    #[test]
    fn a_type_asks_for_its_keys() {
        let cases = [
            ("any thing", json!({}), &[][..]),
            ("kubernetes.io/tls", json!({"tls.crt": ""}), &["data[tls.key]"][..]),
            ("kubernetes.io/basic-auth", json!({"password": ""}), &[][..]),
            ("kubernetes.io/basic-auth", json!({}), &["data[username]", "data[password]"][..]),
            ("kubernetes.io/ssh-auth", json!({"ssh-privatekey": ""}), &["data[ssh-privatekey]"][..]),
            ("kubernetes.io/dockercfg", json!({".dockercfg": "e30="}), &[][..]),
            ("kubernetes.io/dockercfg", json!({".dockercfg": "W10="}), &["data[.dockercfg]"][..]),
            (
                "kubernetes.io/service-account-token",
                json!({}),
                &["metadata.annotations[kubernetes.io/service-account.name]"][..],
            ),
        ];
        for (of_type, data, expected) in cases {
            let secret = json!({"metadata": {"name": "x", "namespace": "n"}, "data": data, "type": of_type});
            let mut errors = Errors::new();
            validate(&SECRET, &secret, &mut errors);
            assert_eq!(
                errors.0.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(),
                expected,
                "case: {of_type}"
            );
        }
    }
}
