//! A request as a native server understands it: who asks, in which database, with which settings,
//! parameters and output format. It reads URL, headers and form fields, and runs nothing.

use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::form::Field;
use crate::library::{EngineError, Parameters};

/// URL parameters that belong to the HTTP interface and are no settings.
/// `session_*` is accepted and ignored: each request has a session of its own.
const INTERFACE_PARAMETERS: [&str; 16] = [
    "buffer_size",
    "client_protocol_version",
    "close_session",
    "compress",
    "decompress",
    "query_id",
    "quota_key",
    "role",
    "session_check",
    "session_id",
    "session_timeout",
    "session_timezone_header",
    "stacktrace",
    "wait_end_of_query",
    "framing",
    "add_http_cors_header",
];

/// A user that may only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadonlyUser {
    /// The name, as in `user=` or `X-ClickHouse-User`.
    pub name: String,
    /// The password that must be given; any is accepted when there is none.
    pub password: Option<String>,
}

impl std::str::FromStr for ReadonlyUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, password) = match text.split_once(':') {
            Some((name, password)) => (name, Some(password.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || name == "default" {
            return Err(format!("{text:?} does not name a user other than default"));
        }
        Ok(Self { name: name.to_owned(), password })
    }
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    Full,
    /// As a native server treats GET: no writes, but settings in the query may change.
    Get,
    /// A user that may only read, and change nothing.
    Readonly,
}

/// Everything but the statement's rows.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) access: Access,
    pub(crate) database: Option<String>,
    pub(crate) default_format: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) query_id: Option<String>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) parameters: Parameters,
}

impl Request {
    /// Reads the head of a request; an error in the engine's form when it is refused.
    pub(crate) fn read(
        method: &Method,
        headers: &HeaderMap,
        fields: Vec<Field>,
        readonly_users: &[ReadonlyUser],
    ) -> Result<Self, EngineError> {
        let mut request = Self {
            access: if method == Method::POST { Access::Full } else { Access::Get },
            database: header(headers, "X-ClickHouse-Database"),
            default_format: header(headers, "X-ClickHouse-Format"),
            query: None,
            query_id: None,
            settings: Vec::new(),
            parameters: Parameters::default(),
        };
        let mut credentials = credentials(headers);
        for Field { name, value } in fields {
            request.take(name, value, &mut credentials)?;
        }
        if authenticate(&credentials, readonly_users)? {
            request.access = Access::Readonly;
        }
        Ok(request)
    }

    fn take(
        &mut self,
        name: String,
        value: String,
        credentials: &mut Credentials,
    ) -> Result<(), EngineError> {
        match name.as_str() {
            // A form may repeat the query; a native server joins the parts.
            "query" => self.query.get_or_insert_default().push_str(&value),
            "database" => self.database = Some(value).filter(|name| !name.is_empty()),
            "default_format" => self.default_format = Some(value),
            "query_id" => self.query_id = Some(value),
            "user" => credentials.user = Some(value),
            "password" => credentials.password = Some(value),
            "compress" | "decompress" if value != "0" => {
                return Err(EngineError(format!(
                    "Code: 48. DB::Exception: {name}={value} is not supported by this development server: set the client's compression to none. (NOT_IMPLEMENTED)"
                )));
            }
            other if INTERFACE_PARAMETERS.contains(&other) => {}
            other => match other.strip_prefix("param_") {
                Some(parameter) => self.parameters.push(parameter.to_owned(), value),
                None => self.settings.push((name, value)),
            },
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Credentials {
    user: Option<String>,
    password: Option<String>,
}

fn credentials(headers: &HeaderMap) -> Credentials {
    let basic = header(headers, "Authorization")
        .and_then(|value| value.strip_prefix("Basic ").map(str::to_owned))
        .and_then(|encoded| STANDARD.decode(encoded.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) = match basic.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
        None => (None, None),
    };
    Credentials {
        user: header(headers, "X-ClickHouse-User").or(user),
        password: header(headers, "X-ClickHouse-Key").or(password),
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// True for a user that may only read. `default` has no password, so any is accepted.
fn authenticate(given: &Credentials, readonly: &[ReadonlyUser]) -> Result<bool, EngineError> {
    let name = given.user.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    if name == "default" {
        return Ok(false);
    }
    let known = readonly.iter().find(|user| user.name == name);
    match known {
        Some(user) if user.password.is_none() || user.password == given.password => Ok(true),
        _ => Err(EngineError(format!(
            "Code: 516. DB::Exception: {name}: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Request, EngineError> {
        let fields = fields
            .iter()
            .map(|(name, value)| Field { name: (*name).to_owned(), value: (*value).to_owned() })
            .collect();
        let users = ["grafana:secret".parse().expect("a user")];
        Request::read(&Method::POST, &HeaderMap::new(), fields, &users)
    }

    #[test]
    fn what_is_no_interface_parameter_is_a_setting() {
        let request = read(&[("max_threads", "1"), ("session_id", "x"), ("param_a", "1")]).expect("accepted");
        assert_eq!(request.settings, [("max_threads".to_owned(), "1".to_owned())]);
        assert_eq!(request.access, Access::Full);
    }

    #[test]
    fn users_are_known_by_name_and_password() {
        let ok = read(&[("user", "grafana"), ("password", "secret")]).expect("accepted");
        assert_eq!(ok.access, Access::Readonly);
        for fields in [&[("user", "grafana")][..], &[("user", "nobody")]] {
            let refused = read(fields).expect_err("refused");
            assert!(refused.0.starts_with("Code: 516."), "{refused}");
        }
    }
}
