//! The schema registry: writers' schemas by id, where one is configured. It speaks the
//! Confluent-compatible HTTP interface.
//!
//! Only the registry's own word for it (404 with its code 40403) means that there is no
//! such schema. Everything else that is not a schema is an error that may pass: a registry
//! that is down, slow, locked or misconfigured must not cost an event.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::IgnoredAny;
use weir_wire::avro::SchemaId;

use crate::StoreError;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a whole answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read. A registry keeps schemas in records of Kafka, which
/// are not longer either.
const ANSWER_BYTES_MAX: usize = 1_048_576;
/// The registry's code for a schema that it does not have.
const SCHEMA_NOT_FOUND: i64 = 40_403;
/// How much of a registry's message is repeated, in characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// A connection to a schema registry.
#[derive(Clone, Debug)]
pub struct SchemaRegistry {
    /// What cannot be reached because the configuration is wrong is said when it is asked.
    target: Result<Target, String>,
}

#[derive(Clone, Debug)]
struct Target {
    client: Client,
    base: Url,
}

/// What a registry says about an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryAnswer {
    /// An Avro schema, as JSON.
    Avro(String),
    /// A schema that cannot be used, and why.
    Unsupported(String),
    /// There is none.
    NotFound,
}

#[derive(Deserialize)]
struct Registered {
    schema: String,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Refused {
    error_code: i64,
    #[serde(default)]
    message: String,
}

impl SchemaRegistry {
    /// A registry at a URL, which may hold a path, and a user and password.
    pub fn new(url: &str) -> Self {
        Self::with_timeout(url, ANSWER_TIMEOUT)
    }

    fn with_timeout(url: &str, timeout: Duration) -> Self {
        Self { target: Target::of(url, timeout) }
    }

    /// The schema of an id that a registry gave.
    ///
    /// # Errors
    /// Transient ones alone: whatever is wrong may be mended while the caller waits.
    pub async fn schema(&self, id: SchemaId) -> Result<RegistryAnswer, StoreError> {
        let asked = match &self.target {
            Ok(target) => target.ask(id).await,
            Err(reason) => Err(reason.clone()),
        };
        asked.map_err(|reason| StoreError::Transient {
            attempt: "read a schema from the schema registry",
            reason: format!("schema {id}: {reason}"),
        })
    }
}

impl Target {
    fn of(url: &str, timeout: Duration) -> Result<Self, String> {
        // The URL may hold a password, so it is not repeated.
        let base = Url::parse(url).map_err(|error| format!("schema_registry_url is not a URL: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err("schema_registry_url must begin with http:// or https://".into());
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("no HTTP client can be made: {}", chain(&error)))?;
        Ok(Self { client, base })
    }

    async fn ask(&self, id: SchemaId) -> Result<RegistryAnswer, String> {
        let Some(url) = self.url(id) else { return Ok(RegistryAnswer::NotFound) };
        let request =
            self.client.get(url).header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        let failed =
            |error: reqwest::Error| format!("the registry does not answer: {}", chain(&error.without_url()));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = bounded(&mut response).await?;
        if status == StatusCode::OK {
            return registered(&body);
        }
        match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) if status == StatusCode::NOT_FOUND && refused.error_code == SCHEMA_NOT_FOUND => {
                Ok(RegistryAnswer::NotFound)
            }
            Ok(refused) => {
                let message: String = refused.message.chars().take(MESSAGE_CHARS_MAX).collect();
                Err(format!("the registry answered {status}, code {}: {message}", refused.error_code))
            }
            Err(_) => Err(format!(
                "{status} was answered, not as a schema registry does; is schema_registry_url right?"
            )),
        }
    }

    /// Where the schema of an id is; nowhere for one of our own.
    fn url(&self, id: SchemaId) -> Option<Url> {
        let (folder, name) = match id {
            SchemaId::Number(number) => ("ids", number.to_string()),
            SchemaId::Guid(_) => ("guids", id.to_string()),
            SchemaId::Shipped(_) => return None,
        };
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["schemas", folder, &name]);
        Some(url)
    }
}

fn registered(body: &[u8]) -> Result<RegistryAnswer, String> {
    let found: Registered = serde_json::from_slice(body).map_err(|error| {
        format!("200 was answered, but not with a schema ({error}); is schema_registry_url right?")
    })?;
    let schema_type = found.schema_type.as_deref().unwrap_or("AVRO");
    if !schema_type.eq_ignore_ascii_case("AVRO") {
        let shown: String = schema_type.chars().take(32).collect();
        return Ok(RegistryAnswer::Unsupported(format!(
            "it is of type {shown}; write events as Avro, or as CloudEvents in JSON without a schema"
        )));
    }
    if found.references.is_some_and(|references| !references.is_empty()) {
        return Ok(RegistryAnswer::Unsupported(
            "it refers to other schemas of the registry; register it as one schema without references".into(),
        ));
    }
    Ok(RegistryAnswer::Avro(found.schema))
}

/// An answer's body, if it is not too long.
async fn bounded(response: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| format!("the registry's answer ended early: {}", chain(&error.without_url())))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!(
                "the answer is longer than {ANSWER_BYTES_MAX} bytes; is schema_registry_url right?"
            ));
        }
        body.extend_from_slice(&chunk);
    }
}

/// An error and what is behind it: reqwest says "connection refused" only there.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(words, ": {error}");
        source = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives one answer to whoever asks, or none at all; its URL.
    fn answering(answer: Option<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://reader:secret@{}/registry/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = [0; 4_096];
                let read = stream.read(&mut head).unwrap();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let Some(answer) = &answer else {
                    silent.push(stream);
                    continue;
                };
                assert!(head.contains("GET /registry/schemas/"), "{head}");
                assert!(head.to_lowercase().contains("authorization: basic cmvhzgvyonnly3jlda=="), "{head}");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        url
    }

    fn http(status: &str, body: &str) -> Option<String> {
        Some(format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    }

    async fn ask(url: &str) -> Result<RegistryAnswer, StoreError> {
        SchemaRegistry::with_timeout(url, Duration::from_millis(500)).schema(SchemaId::Number(7)).await
    }

    /// The answer is an error that passes, with these words and without the password.
    async fn check_held(url: &str, words: &str) {
        let error = ask(url).await.unwrap_err();
        let said = error.to_string();
        assert!(error.is_transient() && said.contains(words), "{said}");
        assert!(said.contains("schema 7") && !said.contains("secret"), "{said}");
    }

    #[tokio::test]
    async fn schemas_and_their_absence_are_told() {
        let check = async |status: &str, body: &str, expected: RegistryAnswer| {
            assert_eq!(ask(&answering(http(status, body))).await.unwrap(), expected);
        };
        let avro = || RegistryAnswer::Avro("\"string\"".into());
        check("200 OK", r#"{"schema": "\"string\""}"#, avro()).await;
        check(
            "200 OK",
            r#"{"schema": "\"string\"", "schemaType": "AVRO", "references": [], "id": 7}"#,
            avro(),
        )
        .await;
        check(
            "404 Not Found",
            r#"{"error_code":40403,"message":"Schema 7 not found"}"#,
            RegistryAnswer::NotFound,
        )
        .await;
    }

    #[tokio::test]
    async fn what_is_not_supported_is_said() {
        let check = async |body: &str, words: &str| match ask(&answering(http("200 OK", body))).await.unwrap()
        {
            RegistryAnswer::Unsupported(reason) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        };
        check(r#"{"schema": "{}", "schemaType": "JSON"}"#, "of type JSON").await;
        check(r#"{"schema": "syntax", "schemaType": "PROTOBUF"}"#, "of type PROTOBUF").await;
        check(
            r#"{"schema": "{}", "references": [{"name": "a", "subject": "a", "version": 1}]}"#,
            "without references",
        )
        .await;
    }

    #[tokio::test]
    async fn every_other_answer_is_waited_for() {
        for (status, body, words) in [
            ("404 Not Found", "<html>nothing here</html>", "is schema_registry_url right?"),
            ("404 Not Found", r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, "code 404: HTTP 404"),
            (
                "401 Unauthorized",
                r#"{"error_code":401,"message":"Unauthorized"}"#,
                "401 Unauthorized, code 401",
            ),
            ("500 Internal Server Error", r#"{"error_code":50001,"message":"store"}"#, "code 50001: store"),
            ("500 Internal Server Error", r#"{"error_code":40403}"#, "500 Internal Server Error"),
            ("503 Service Unavailable", "", "503 Service Unavailable"),
            ("302 Found", "", "302 Found"),
            ("200 OK", "<html>welcome</html>", "not with a schema"),
            ("200 OK", r#"{"subject": "a"}"#, "missing field `schema`"),
        ] {
            check_held(&answering(http(status, body)), words).await;
        }
        check_held(&answering(http("200 OK", &" ".repeat(ANSWER_BYTES_MAX + 1))), "longer than 1048576")
            .await;
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 90\r\nConnection: close\r\n\r\n{".to_owned();
        check_held(&answering(Some(cut)), "ended early").await;
        check_held(&answering(None), "does not answer").await;
        check_held("http://127.0.0.1:1", "refused").await;
        check_held("registry:8081", "http://").await;
        check_held("no url", "not a URL").await;
    }

    #[test]
    fn ids_and_guids_have_their_places() {
        let target = Target::of("http://registry:8081/apis/ccompat/v7", ANSWER_TIMEOUT).unwrap();
        let place = |id| target.url(id).map(|url| url.path().to_owned());
        assert_eq!(place(SchemaId::Number(7)).unwrap(), "/apis/ccompat/v7/schemas/ids/7");
        let guid = place(SchemaId::Guid([0xab; 16])).unwrap();
        assert_eq!(guid, "/apis/ccompat/v7/schemas/guids/abababab-abab-abab-abab-abababababab");
        assert_eq!(place(SchemaId::Shipped(2)), None);
    }
}
