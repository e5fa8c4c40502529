//! Name and value pairs from a URL's query or from a `multipart/form-data` body, the two ways in
//! which ClickHouse clients send them. Only text fields: external tables are not supported.

use axum::extract::Query;
use axum::http::{HeaderMap, Uri};

use crate::library::EngineError;

/// One pair, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// The pairs of a URL, in order.
pub(crate) fn url_fields(uri: &Uri) -> Result<Vec<Field>, EngineError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| {
        EngineError(format!("Code: 36. DB::Exception: unreadable URL: {error}. (BAD_ARGUMENTS)"))
    })?;
    Ok(pairs.into_iter().map(|(name, value)| Field { name, value }).collect())
}

/// The boundary of a form body; `None` for any other content.
pub(crate) fn boundary(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("Content-Type")?.to_str().ok()?;
    let rest = value.strip_prefix("multipart/form-data")?;
    let (_, boundary) = rest.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    Some(boundary.to_owned())
}

/// The pairs of a form body.
pub(crate) fn form_fields(body: &[u8], boundary: &str) -> Result<Vec<Field>, EngineError> {
    let bad = |what: &str| {
        EngineError(format!("Code: 36. DB::Exception: unreadable form: {what}. (BAD_ARGUMENTS)"))
    };
    let body = std::str::from_utf8(body).map_err(|_| bad("it is not UTF-8"))?;
    let first = format!("--{boundary}");
    let body = body.strip_prefix(first.as_str()).ok_or_else(|| bad("no opening boundary"))?;
    let (body, _) =
        body.split_once(format!("\r\n--{boundary}--").as_str()).ok_or_else(|| bad("no closing boundary"))?;
    body.split(format!("\r\n--{boundary}").as_str())
        .map(|part| {
            let (head, value) = part.split_once("\r\n\r\n").ok_or_else(|| bad("a field has no value"))?;
            let (_, name) = head.split_once(" name=\"").ok_or_else(|| bad("a field has no name"))?;
            if head.contains("filename=") {
                return Err(bad("external tables are not supported"));
            }
            let name = name.split('"').next().unwrap_or_default().to_owned();
            Ok(Field { name, value: value.to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_its_fields_unchanged() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n--b\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\n a\r\nb\r\n--b--\r\n";
        let fields = form_fields(body.as_bytes(), "b").expect("readable");
        let pairs: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.value.as_str())).collect();
        assert_eq!(pairs, [("query", "SELECT {x:String}"), ("param_x", " a\r\nb")]);
        assert!(form_fields(b"--b\r\n", "b").is_err());
    }
}
