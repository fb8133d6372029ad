//! How a new node comes by its certificate.

use coracle_api::Revision;
use coracle_proto::v1 as pb;
use coracle_proto::v1::nodes_client::NodesClient;
use rcgen::{CertificateParams, KeyPair};

use crate::channel::anonymous_channel;
use crate::deadline::{ANSWER, in_time};
use crate::kubeconfig::Credentials;
use crate::{Error, messages};

/// Shows a bootstrap token and gets a certificate for the node `name` in return. The private key is made here and never leaves.
///
/// # Errors
/// [`Error::Refused`] for a bad token; [`Error::Unreachable`] where nobody answers; [`Error::Credentials`] where nobody can be asked.
pub async fn join(server: &str, ca: &str, name: &str, token: &str) -> Result<Credentials, Error> {
    let bad = |error: rcgen::Error| Error::Credentials(error.to_string());
    let key = KeyPair::generate().map_err(bad)?;
    let params = CertificateParams::new(Vec::new()).map_err(bad)?;
    let certificate_request =
        params.serialize_request(&key).and_then(|request| request.pem()).map_err(bad)?;
    let request = pb::JoinRequest { name: name.into(), token: token.into(), certificate_request };
    let mut nodes = NodesClient::new(anonymous_channel(server, ca)?);
    let answer = async {
        nodes.join(request).await.map_err(|status| messages::error_in(&status, Revision::default()))
    };
    let answer = in_time(ANSWER, answer).await?.into_inner();
    Ok(Credentials {
        server: server.into(),
        ca: answer.ca,
        certificate: answer.certificate,
        key: key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_the_call_and_never_answers_is_given_up() {
        // Never accepted: the system completes the connection, and then nobody speaks.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = format!("https://{}", listener.local_addr().expect("an address"));
        let ca = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("a certificate").cert.pem();
        let joining = join(&server, &ca, "node", "token");
        let answer = tokio::time::timeout(Duration::from_secs(3600), joining).await.expect("an end");
        assert!(matches!(answer, Err(Error::Unreachable(_))), "{answer:?}");
    }
}
