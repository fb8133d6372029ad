//! How a new node comes by its certificate.

use coracle_api::Revision;
use coracle_proto::v1 as pb;
use coracle_proto::v1::nodes_client::NodesClient;
use rcgen::{CertificateParams, KeyPair};

use crate::grpc::anonymous_channel;
use crate::kubeconfig::Credentials;
use crate::{Error, wire};

/// Shows a bootstrap token and gets a certificate for the node `name` in return. The private key is made here and never leaves.
///
/// # Errors
/// [`Error::Refused`] for a bad token; [`Error::Unreachable`] where nobody answers.
pub async fn join(server: &str, ca: &str, name: &str, token: &str) -> Result<Credentials, Error> {
    let bad = |error: rcgen::Error| Error::Malformed(error.to_string());
    let key = KeyPair::generate().map_err(bad)?;
    let params = CertificateParams::new(Vec::new()).map_err(bad)?;
    let certificate_request =
        params.serialize_request(&key).and_then(|request| request.pem()).map_err(bad)?;
    let request = pb::JoinRequest { name: name.into(), token: token.into(), certificate_request };
    let answer = NodesClient::new(anonymous_channel(server, ca)?).join(request).await;
    let answer = answer.map_err(|status| wire::error_in(&status, Revision::default()))?.into_inner();
    Ok(Credentials {
        server: server.into(),
        ca: answer.ca,
        certificate: answer.certificate,
        key: key.serialize_pem(),
    })
}
