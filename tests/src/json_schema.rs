//! As much of JSON Schema (draft 7) as a schema generated from TypeScript uses. A keyword that it
//! does not know is an error, never passed over.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Checks a value and names the first place that breaks the schema.
pub fn validate(schema: &Value, value: &Value) -> Result<()> {
    Checker { root: schema }.check(schema, value, "")
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, place: &str) -> Result<()> {
        let Some(keywords) = schema.as_object() else { bail!("{place}: {schema} is no schema") };
        for (keyword, rule) in keywords {
            self.keyword(keyword, rule, schema, value, place)?;
        }
        Ok(())
    }

    fn keyword(&self, keyword: &str, rule: &Value, schema: &Value, value: &Value, place: &str) -> Result<()> {
        match keyword {
            "$schema" | "$comment" | "description" | "definitions" => Ok(()),
            "$ref" => self.check(self.resolve(rule)?, value, place),
            "type" if has_type(rule, value) => Ok(()),
            "type" => bail!("{place}: {} is not of type {rule}", cut(value)),
            "const" if rule == value => Ok(()),
            "const" => bail!("{place}: {} is not {rule}", cut(value)),
            "enum" if rule.as_array().is_some_and(|all| all.contains(value)) => Ok(()),
            "enum" => bail!("{place}: {} is none of {rule}", cut(value)),
            "required" => required(rule, value, place),
            "properties" => self.properties(rule, value, place),
            "additionalProperties" => self.additional(rule, &schema["properties"], value, place),
            "items" => self.items(rule, value, place),
            "anyOf" => self.any_of(rule, value, place),
            unknown => bail!("the schema's keyword {unknown} is not known here"),
        }
    }

    fn resolve(&self, reference: &Value) -> Result<&Value> {
        let path = reference.as_str().and_then(|text| text.strip_prefix('#'));
        let path = path.with_context(|| format!("{reference} is no reference inside the schema"))?;
        self.root.pointer(path).with_context(|| format!("{reference} leads nowhere"))
    }

    fn properties(&self, rules: &Value, value: &Value, place: &str) -> Result<()> {
        for (name, member) in value.as_object().into_iter().flatten() {
            if let Some(rule) = rules.get(name) {
                self.check(rule, member, &format!("{place}/{name}"))?;
            }
        }
        Ok(())
    }

    fn additional(&self, rule: &Value, known: &Value, value: &Value, place: &str) -> Result<()> {
        for (name, member) in value.as_object().into_iter().flatten() {
            match rule {
                _ if known.get(name).is_some() => {}
                Value::Bool(true) => {}
                Value::Bool(false) => bail!("{place}: {name} is not in the schema"),
                rule => self.check(rule, member, &format!("{place}/{name}"))?,
            }
        }
        Ok(())
    }

    fn items(&self, rule: &Value, value: &Value, place: &str) -> Result<()> {
        let mut items = value.as_array().into_iter().flatten().enumerate();
        items.try_for_each(|(at, item)| self.check(rule, item, &format!("{place}/{at}")))
    }

    fn any_of(&self, rules: &Value, value: &Value, place: &str) -> Result<()> {
        let mut reasons = Vec::new();
        for rule in rules.as_array().into_iter().flatten() {
            match self.check(rule, value, place) {
                Ok(()) => return Ok(()),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        bail!("{place}: none of the shapes fits: {}", reasons.join("; "))
    }
}

fn required(names: &Value, value: &Value, place: &str) -> Result<()> {
    let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in names {
        if value.is_object() && value.get(name).is_none() {
            bail!("{place}: {name} is missing");
        }
    }
    Ok(())
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match rule {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

fn cut(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_breaks_a_schema_is_named() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": { "$ref": "#/definitions/a" },
                "b": { "anyOf": [{ "const": 1 }, { "type": "array", "items": { "enum": ["x", "y"] } }] },
                "c": { "type": "object", "additionalProperties": { "type": "number" } },
            },
            "required": ["a"],
            "additionalProperties": false,
            "definitions": { "a": { "type": ["string", "null"] } },
        });
        let table = [
            (json!({"a": null, "b": 1, "c": {"d": 1.5}}), None),
            (json!({"a": "", "b": ["x", "y"]}), None),
            (json!({}), Some("a is missing")),
            (json!({"a": 1}), Some("/a: 1 is not of type")),
            (json!({"a": "", "b": ["z"]}), Some("/b/0: \"z\" is none of")),
            (json!({"a": "", "c": {"d": ""}}), Some("/c/d: \"\" is not of type")),
            (json!({"a": "", "e": 0}), Some("e is not in the schema")),
        ];
        for (value, expected) in table {
            let found = validate(&schema, &value).err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(found, None, "{value}"),
                Some(part) => {
                    assert!(found.as_deref().is_some_and(|found| found.contains(part)), "{found:?}")
                }
            }
        }
        assert!(validate(&json!({"patternProperties": {}}), &json!({})).is_err());
    }
}
