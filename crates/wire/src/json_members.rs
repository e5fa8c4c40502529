//! JSON objects as a list of names and untouched value texts, so that a number keeps
//! the digits it was sent with. Bounded: members, nesting, entries of `data`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use weir_metering::event::DATA_ENTRIES_MAX;

use crate::problem::EventProblem;

/// The most members that any object may have; `data` has its own, lower bound.
const MEMBERS_MAX: usize = 512;
/// How deep a value of `data` may nest.
const DEPTH_MAX: usize = 32;

/// The members of an object in the order they were sent, doubles kept.
#[derive(Debug)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'a> Visitor<'a> for Object {
            type Value = Members<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'a>, &'a RawValue>()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom(format_args!(
                            "an object has more than {MEMBERS_MAX} members"
                        )));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Text that is borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'a> Deserialize<'a> for Name<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'a> Visitor<'a> for Text {
            type Value = Name<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Name<'a>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Name<'a>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The members of `data` as a usage event keeps them.
pub(crate) fn data_of(members: &Members<'_>) -> Result<Vec<(String, String)>, EventProblem> {
    let entries = members.0.iter().map(|(name, raw)| Ok((name.clone().into_owned(), text_of(name, raw)?)));
    sorted(entries.collect::<Result<_, EventProblem>>()?)
}

/// Sorts entries by name, refuses doubled names and too many, leaves nulls out.
pub(crate) fn sorted(
    mut entries: Vec<(String, Option<String>)>,
) -> Result<Vec<(String, String)>, EventProblem> {
    if entries.len() > DATA_ENTRIES_MAX {
        return Err(EventProblem::invalid(format!(
            "data has more than {DATA_ENTRIES_MAX} entries; send only what meters read"
        )));
    }
    entries.sort();
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let name: String = pair[0].0.chars().take(64).collect();
        return Err(EventProblem::invalid(format!("data names {name:?} twice; send each name once")));
    }
    Ok(entries.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// A value as text: strings as they are, numbers and booleans as they were spelled,
/// objects and arrays without white space; `None` for null.
fn text_of(name: &str, raw: &RawValue) -> Result<Option<String>, EventProblem> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => string_of(raw).map(Some).ok_or_else(|| {
            EventProblem::malformed(format!("data.{}: a text that is not valid Unicode", shown(name)))
        }),
        Some(b'{' | b'[') => compact(text).map(Some).ok_or_else(|| {
            let shown = shown(name);
            EventProblem::invalid(format!(
                "data.{shown} nests deeper than {DEPTH_MAX}; send only what meters read"
            ))
        }),
        _ => Ok(Some(text.to_owned())),
    }
}

/// The text of a JSON string; `None` for anything else.
pub(crate) fn string_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// JSON text without the white space between its tokens; `None` where it nests too deep.
/// Takes only text that a parser has accepted.
fn compact(json: &str) -> Option<String> {
    let mut out = String::with_capacity(json.len());
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            out.push(c);
            continue;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => continue,
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return None;
        }
        out.push(c);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_except_inside_texts() {
        let json = " { \"a b\" : [ 1 , \"x \\\" y\\\\\" , 1e-07 ] ,\n \"c\":{ } } ";
        assert_eq!(compact(json).unwrap(), r#"{"a b":[1,"x \" y\\",1e-07],"c":{}}"#);
        assert_eq!(compact(&"[".repeat(33)), None);
    }
}
