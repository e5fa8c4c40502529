//! The one way in which a document becomes bytes before it is hashed or compared:
//! compact JSON with the names of every object sorted. Decimals are texts without
//! superfluous zeros (money: with exactly its currency's decimals), instants RFC 3339
//! with milliseconds, so equal values have equal bytes wherever they were stored.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A value that cannot be written as JSON. The documents of this crate always can.
#[derive(Debug, thiserror::Error)]
#[error("a document could not be written as JSON")]
pub struct CanonicalError(#[from] serde_json::Error);

/// Canonical JSON of a value.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<String, CanonicalError> {
    Ok(text_of(&value_of(value)?))
}

/// SHA-256 of a value's canonical JSON, as 64 hex digits.
pub fn content_hash<T: Serialize>(value: &T) -> Result<String, CanonicalError> {
    Ok(sha256_hex(&canonical_json(value)?))
}

/// A value as JSON, its names not yet sorted.
pub(crate) fn value_of<T: Serialize>(value: &T) -> Result<Value, CanonicalError> {
    Ok(serde_json::to_value(value)?)
}

/// SHA-256 of a text, as 64 hex digits.
pub(crate) fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Canonical JSON of a value that is JSON already.
pub(crate) fn text_of(value: &Value) -> String {
    let mut out = String::with_capacity(1024);
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            // Sorted here, whatever order the map of serde_json keeps.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
