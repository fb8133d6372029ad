//! Tokens of service accounts: JWTs signed with ES256, with upstream's claims.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use coracle_client::Clock;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::PkiError;
use super::files;

/// Who issues the tokens, and whom they are for when nobody says otherwise.
pub const ISSUER: &str = "https://kubernetes.default.svc";

/// An object that a token is bound to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom the token is for.
    pub aud: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// [`ISSUER`].
    pub iss: String,
    /// The token's own uid.
    pub jti: String,
    /// Which account, and what it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
    /// Not good before.
    pub nbf: i64,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
}

/// What only Kubernetes puts into a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Private {
    /// Of the account.
    pub namespace: String,
    /// The node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Bound>,
    /// The pod that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Bound>,
    /// The secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Bound>,
    /// The account.
    pub serviceaccount: Bound,
}

/// Makes and checks tokens.
pub struct AccountTokens {
    key: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
    clock: Clock,
}

impl AccountTokens {
    pub(super) fn open(path: &Path, clock: Clock) -> Result<AccountTokens, PkiError> {
        let random = SystemRandom::new();
        let pkcs8 = match files::read(path)? {
            Some(pem) => {
                decode_pem(&pem).ok_or_else(|| PkiError::damaged(path, "not a private key in PEM"))?
            }
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                let made = made.map_err(|e| PkiError::Crypto(e.to_string()))?;
                files::write_private(path, &encode_pem(made.as_ref()))?;
                made.as_ref().to_vec()
            }
        };
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
            .map_err(|e| PkiError::damaged(path, e))?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key().as_ref()));
        Ok(AccountTokens { key, key_id, random, clock })
    }

    /// A token for an account, for `seconds`, and the time when it ends.
    ///
    /// # Errors
    /// Only where the machine has no randomness.
    pub fn issue(
        &self,
        audiences: &[String],
        seconds: i64,
        about: Private,
    ) -> Result<(String, Timestamp), PkiError> {
        let now = self.clock.now();
        let start = now.as_second();
        let sub = format!("system:serviceaccount:{}:{}", about.namespace, about.serviceaccount.name);
        let aud = if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences.to_vec() };
        let claims = Claims {
            aud,
            exp: start.saturating_add(seconds),
            iat: start,
            iss: ISSUER.into(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: about,
            nbf: start,
            sub,
        };
        let header = serde_json::json!({"alg": "ES256", "kid": self.key_id});
        let claims_json = serde_json::to_vec(&claims).map_err(|e| PkiError::Crypto(e.to_string()))?;
        let body =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims_json));
        let signature = self.key.sign(&self.random, body.as_bytes());
        let signature = signature.map_err(|e| PkiError::Crypto(e.to_string()))?;
        let end = Timestamp::from_second(claims.exp).unwrap_or(Timestamp::MAX);
        Ok((format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature)), end))
    }

    /// The key that checks the tokens, as a JSON Web Key.
    pub fn public_key(&self) -> serde_json::Value {
        // An uncompressed point: 4, then both coordinates.
        let point = self.key.public_key().as_ref();
        let coordinate =
            |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
        serde_json::json!({
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": coordinate(1..33), "y": coordinate(33..65),
        })
    }

    /// What a token says, if this cluster made it, it is good now, and it is for the API server.
    pub fn check(&self, token: &str) -> Option<Claims> {
        let (body, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(body.as_bytes(), &signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(body.split_once('.')?.1).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        let now = self.clock.now().as_second();
        let good = claims.iss == ISSUER
            && claims.nbf <= now
            && now < claims.exp
            && claims.aud.iter().any(|audience| audience == ISSUER);
        good.then_some(claims)
    }
}

fn encode_pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

fn decode_pem(pem: &str) -> Option<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body.trim()).ok()
}
