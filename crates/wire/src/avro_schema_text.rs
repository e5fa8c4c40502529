//! Whether a schema's text may be handed to apache-avro, which panics over attributes that bear
//! the names of Avro's own where they mean nothing (`"precision": "high"` on a record): it keeps
//! them, and takes them for its own when it writes the schema's canonical form.

use serde_json::Value;

use crate::avro_layout::UnusableSchema;

/// Attributes that hold types, names or lists of them.
const STRUCTURE: [&str; 7] = ["name", "type", "fields", "symbols", "items", "values", "order"];
/// Attributes that hold whole numbers, perhaps as text.
const NUMBERS: [&str; 3] = ["size", "precision", "scale"];

/// Checks the attributes of a schema's text. What is not JSON is not looked into.
pub(crate) fn check_attributes(json: &str) -> Result<(), UnusableSchema> {
    serde_json::from_str(json).map_or(Ok(()), |schema| check(&schema, "schema"))
}

/// Checks a part of a schema; `name` is the attribute that holds it.
fn check(part: &Value, name: &'static str) -> Result<(), UnusableSchema> {
    match part {
        Value::String(_) => Ok(()),
        Value::Array(parts) => parts.iter().try_for_each(|part| check(part, name)),
        Value::Object(attributes) => {
            for known in STRUCTURE {
                attributes.get(known).map_or(Ok(()), |part| check(part, known))?;
            }
            let odd = NUMBERS.into_iter().find(|known| !attributes.get(*known).is_none_or(is_whole));
            odd.map_or(Ok(()), |name| Err(UnusableSchema::Attribute { name }))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Err(UnusableSchema::Attribute { name }),
    }
}

fn is_whole(value: &Value) -> bool {
    value.as_str().map_or(value.is_i64(), |text| text.parse::<i64>().is_ok())
}
