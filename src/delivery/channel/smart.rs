//! Tokens by SMART Backend Services: a client shows a signed assertion (RFC 7523) to a token server and is given a token for a short while.
//!
//! All channels of a route share one token; whoever finds it missing or about to run out fetches the next, the others wait for it. It goes to the origin of the FHIR
//! base and nowhere else. Whatever goes wrong here concerns the credentials, not a message: the route rests, nothing is given up.
use super::egress::Egress;
use super::replies::Replies;
use super::{Failure, Secret, fhir, http};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::ACCEPT;
use reqwest::{Client, Url};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA384, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Who we are to the token server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where tokens are given; without one, where the FHIR server says (`.well-known/smart-configuration`).
    pub token_url: Option<Url>,
    /// The name under which the token server knows our public key.
    pub client_id: String,
    /// What signs.
    pub key: Key,
    /// `kid`: which of our public keys verifies.
    pub key_id: Option<String>,
    /// What we ask to be allowed, such as `system/*.cud`.
    pub scope: String,
    /// A token server that is told by the FHIR server may be spoken to without TLS.
    pub plaintext: bool,
}

/// A private key: RSA, 2048 bits or more (RS384), or of the curve P-384 (ES384). Never printed.
#[derive(Clone)]
pub struct Key(Arc<Signer>, Arc<[u8; 32]>);

enum Signer {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A key that cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no private key in PEM (PKCS#8: BEGIN PRIVATE KEY) of RSA with 2048 bits or more, or of the curve P-384")]
pub struct NoKey;

/// The tokens of a route.
#[derive(Debug)]
pub(super) struct Tokens {
    options: Options,
    base: Url,
    /// As [`http::Options`] of the server says, for a token server that it names.
    egress: Egress,
    client: Client,
    /// Held while a token is fetched, so that it is fetched once.
    cached: Mutex<Option<Cached>>,
}

#[derive(Debug)]
struct Cached {
    token: Secret,
    until: Instant,
}

/// How long an assertion holds; SMART allows five minutes.
const ASSERTION: Duration = Duration::from_secs(240);
/// How long a token holds that does not say so.
const LIFE: Duration = Duration::from_secs(300);
/// A token is not used in its last moments, in which a request could be under way.
const MARGIN_MAX: Duration = Duration::from_secs(30);
const LIFE_MAX: Duration = Duration::from_secs(86_400);
const TOKEN_BYTES_MAX: usize = 64 << 10;

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// Anything but a key that can sign.
    pub fn from_pem(pem: &str) -> Result<Key, NoKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| NoKey)?;
        let der = der.secret_pkcs8_der();
        let rsa = RsaKeyPair::from_pkcs8(der).map(Signer::Rsa);
        let ecdsa =
            || EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der, &SystemRandom::new()).map(Signer::Ecdsa);
        rsa.or_else(|_| ecdsa())
            .map(|signer| Key(Arc::new(signer), Arc::new(Sha256::digest(der).into())))
            .map_err(|_| NoKey)
    }

    /// A compact JWS (RFC 7515) of the claims; `None` when the machine gives no random numbers.
    fn sign(&self, key_id: Option<&str>, claims: &Value) -> Option<String> {
        let algorithm = match &*self.0 {
            Signer::Rsa(_) => "RS384",
            Signer::Ecdsa(_) => "ES384",
        };
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        if let Some(key_id) = key_id {
            header["kid"] = key_id.into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = match &*self.0 {
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA384, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
                signature
            }
            Signer::Ecdsa(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?.as_ref().to_vec(),
        };
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.1 == other.1
    }
}

impl Eq for Key {}

impl Tokens {
    pub fn new(options: Options, server: &fhir::Options, client: Client) -> Tokens {
        let (base, egress) = (server.base.clone(), server.http.egress.clone());
        Tokens { options, base, egress, client, cached: Mutex::new(None) }
    }

    /// A token that holds.
    pub async fn current(&self) -> Result<Secret, Failure> {
        let mut cached = self.cached.lock().await;
        match &*cached {
            Some(known) if Instant::now() < known.until => Ok(known.token.clone()),
            _ => self.fetch(&mut cached).await,
        }
    }

    /// Another than this one, which the server has refused; the one that is there by now, if somebody else was faster.
    pub async fn instead_of(&self, refused: &Secret) -> Result<Secret, Failure> {
        let mut cached = self.cached.lock().await;
        match &*cached {
            Some(known) if known.token != *refused && Instant::now() < known.until => Ok(known.token.clone()),
            _ => self.fetch(&mut cached).await,
        }
    }

    async fn fetch(&self, cached: &mut Option<Cached>) -> Result<Secret, Failure> {
        *cached = None;
        let url = match &self.options.token_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        self.egress.check(&url).map_err(|error| endpoint(&format!("no token: {error}")))?;
        let jti = random().ok_or_else(|| endpoint("no random numbers"))?;
        let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + ASSERTION;
        let client_id = &self.options.client_id;
        let claims =
            json!({"iss": client_id, "sub": client_id, "aud": url.as_str(), "exp": expires.as_secs(), "jti": jti});
        let assertion = self.options.key.sign(self.options.key_id.as_deref(), &claims);
        let assertion = assertion.ok_or_else(|| endpoint("the assertion cannot be signed"))?;
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", &self.options.scope),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ];
        let request = self.client.post(url).header(ACCEPT, "application/json").form(&form);
        let asked = Instant::now();
        let (token, life) = self.granted(request.send().await).await?;
        let until = asked + life - MARGIN_MAX.min(life / 4);
        *cached = Some(Cached { token: token.clone(), until });
        Ok(token)
    }

    async fn granted(
        &self,
        response: Result<reqwest::Response, reqwest::Error>,
    ) -> Result<(Secret, Duration), Failure> {
        let (status, after, answer) = self.answer(response).await?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str);
        if !status.is_success() {
            let reason = format!("the token server answers HTTP {status}{}", error_code(text("error")));
            return Err(Failure::Endpoint { reason, after });
        }
        let plain = |token: &&str| {
            !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let is_bearer = text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        let token = text("access_token").filter(plain).filter(|_| is_bearer);
        let token = token.ok_or_else(|| endpoint("the token server answers without a bearer token"))?;
        Ok((Secret::new(token), life(answer.get("expires_in"))))
    }

    /// Where the FHIR server says that tokens are given.
    async fn discover(&self) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([".well-known", "smart-configuration"]);
        }
        let response = self.client.get(url).header(ACCEPT, "application/json").send().await;
        let (status, after, answer) = self.answer(response).await?;
        let told = answer.get("token_endpoint").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
        let safe = |url: &Url| {
            url.scheme() == "https" || (url.scheme() == "http" && (self.options.plaintext || http::is_loopback(url)))
        };
        told.filter(safe).ok_or_else(|| {
            let reason =
                format!(".well-known/smart-configuration answers HTTP {status} without an https token_endpoint");
            Failure::Endpoint { reason, after }
        })
    }

    async fn answer(
        &self,
        response: Result<reqwest::Response, reqwest::Error>,
    ) -> Result<(reqwest::StatusCode, Option<Duration>, Value), Failure> {
        let unanswered = |error: reqwest::Error| {
            endpoint(&format!("no token: {}", http::unanswered(&error, &Replies::default()).reason()))
        };
        let response = response.map_err(unanswered)?;
        let (status, after) = (response.status(), http::retry_after(response.headers(), SystemTime::now()));
        let body = http::read(response).await.map_err(unanswered)?.unwrap_or_default();
        Ok((status, after, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// `expires_in`: a number of seconds; some servers write `3600.0`, or put it in quotes.
fn life(told: Option<&Value>) -> Duration {
    let seconds = told.and_then(|told| told.as_f64().or_else(|| told.as_str()?.parse().ok()));
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(LIFE).min(LIFE_MAX)
}

fn endpoint(reason: &str) -> Failure {
    Failure::Endpoint { reason: reason.to_owned(), after: None }
}

/// `invalid_client` and the like (RFC 6749, 5.2); nothing that could be a value of ours.
fn error_code(text: Option<&str>) -> String {
    let code =
        text.filter(|text| text.len() < 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    code.map_or_else(String::new, |code| format!(" ({code})"))
}

fn random() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData};
    use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

    #[test]
    fn an_assertion_is_signed_so_that_others_can_verify_it() {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let key = Key::from_pem(&pair.serialize_pem()).unwrap();
        let token = key.sign(Some("k1"), &json!({"iss": "us"})).unwrap();
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let header: Value = serde_json::from_slice(&parts[0]).unwrap();
        assert_eq!(header, json!({"alg": "ES384", "typ": "JWT", "kid": "k1"}));
        assert_eq!(parts[1], br#"{"iss":"us"}"#);
        let signed = token.rsplit_once('.').unwrap().0;
        let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, pair.der_bytes());
        assert!(public.verify(signed.as_bytes(), &parts[2]).is_ok() && public.verify(b"other", &parts[2]).is_err());
        assert_eq!(format!("{key:?}"), "***");
    }

    #[test]
    fn how_long_a_token_holds() {
        let seconds = |told: Value| life(Some(&told)).as_secs_f64();
        assert_eq!([seconds(json!(3600)), seconds(json!(1.5)), seconds(json!("60"))], [3600.0, 1.5, 60.0]);
        assert_eq!([seconds(json!(1e30)), seconds(json!(-1)), seconds(json!("soon"))], [300.0; 3]);
        assert_eq!((seconds(json!(9_999_999)), life(None)), (86_400.0, LIFE));
    }

    #[test]
    fn keys_that_the_standard_does_not_know_are_refused() {
        let short = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        for pem in [short.as_str(), "", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(Key::from_pem(pem), Err(NoKey));
        }
    }
}
