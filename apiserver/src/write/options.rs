//! Documents that are read before it is known what is to be written: the options that a delete may carry in its body, and a
//! binding that names its pod only inside.

use coracle_api::Status;
use coracle_api::decode::{META, Target};
use serde_json::Value;

use super::operation::{Body, Context, FieldValidation};
use super::{Registry, decode};
use crate::identity::Identity;
use crate::large::LARGE;

impl Registry {
    /// Reads `DeleteOptions`, in any encoding and of any group and version: clients send those of the group that they delete in.
    ///
    /// # Errors
    /// 400 for what is none.
    pub async fn read_options(&self, user: &Identity, body: Body) -> Result<Value, Status> {
        self.read(user, META, "DeleteOptions", body).await
    }

    /// Reads a `Binding`, in any encoding.
    ///
    /// # Errors
    /// 400 for what is none.
    pub async fn read_binding(&self, user: &Identity, body: Body) -> Result<Value, Status> {
        self.read(user, "", "Binding", body).await
    }

    async fn read(
        &self,
        user: &Identity,
        group: &'static str,
        kind: &'static str,
        body: Body,
    ) -> Result<Value, Status> {
        match &body {
            Body::Bytes(_, bytes) if bytes.len() >= LARGE => {
                self.large.run(user, async move { decode_quietly(group, kind, body) }).await?
            }
            _ => decode_quietly(group, kind, body),
        }
    }
}

/// Unknown fields are told of where the document is carried out, if anywhere.
fn decode_quietly(group: &str, kind: &str, body: Body) -> Result<Value, Status> {
    let target =
        Target::named(group, "v1", kind).ok_or_else(|| Status::internal(format!("no schema for {kind}")))?;
    let context = Context { field_validation: FieldValidation::Ignore, ..Context::default() };
    decode::typed(&context, &target, body, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use coracle_api::decode::Format;
    use coracle_api::kinds;
    use serde_json::json;

    use super::*;

    /// A counted piece as a field of protobuf.
    fn piece(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    /// The same options in each encoding; `api_version` may be empty, and then there is no kind either.
    fn encoded(api_version: &str, kind: &str, options: &Value, message: &[u8]) -> [(Format, Vec<u8>); 3] {
        let mut document = options.clone();
        if !api_version.is_empty() {
            document["apiVersion"] = api_version.into();
            document["kind"] = kind.into();
        }
        let meta = [piece(1, api_version.as_bytes()), piece(2, kind.as_bytes())].concat();
        [
            (Format::Json, document.to_string().into_bytes()),
            (Format::Yaml, coracle_api::document::yaml::write(&document).into_bytes()),
            (Format::Protobuf, [b"k8s\0".to_vec(), piece(1, &meta), piece(2, message)].concat()),
        ]
    }

    /// Each option, with what it is in protobuf.
    fn options() -> Vec<(Value, Vec<u8>)> {
        vec![
            (json!({}), vec![]),
            (json!({"gracePeriodSeconds": 7}), vec![1 << 3, 7]),
            (
                json!({"preconditions": {"uid": "u", "resourceVersion": "5"}}),
                piece(2, &[piece(1, b"u"), piece(2, b"5")].concat()),
            ),
            (json!({"orphanDependents": true}), vec![3 << 3, 1]),
            (json!({"propagationPolicy": "Foreground"}), piece(4, b"Foreground")),
            (json!({"dryRun": ["All"]}), piece(5, b"All")),
        ]
    }

    #[test]
    fn options_are_read_of_every_version_in_every_encoding() {
        let served = kinds::Kinds::new().served().into_iter().map(|kind| kind.api_version());
        let others = ["", "v1", "meta.k8s.io/v1", "policy/v1beta1"].map(str::to_owned);
        for api_version in served.chain(others) {
            for (given, message) in options() {
                for (format, body) in encoded(&api_version, "DeleteOptions", &given, &message) {
                    let found = decode_quietly(META, "DeleteOptions", Body::Bytes(format, body.into()));
                    let mut found =
                        found.unwrap_or_else(|why| panic!("{api_version} {given} {format:?}: {why}"));
                    let fields = found.as_object_mut().unwrap();
                    fields.retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
                    assert_eq!(found, given, "{api_version} {format:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_of_another_kind_is_none() {
        for kind in ["Pod", "CreateOptions", "Nope"] {
            for (format, body) in encoded("v1", kind, &json!({}), &[]) {
                let refused =
                    decode_quietly(META, "DeleteOptions", Body::Bytes(format, body.into())).unwrap_err();
                assert_eq!(refused.code, 400, "{kind} {format:?}: {refused}");
            }
        }
    }
}
