//! Documents that are proved, and documents in which something was changed.

use serde_json::Value;

use super::*;
use crate::correction::{CorrectionInput, correction};
use crate::draft::draft;
use crate::verify::{check_hashes, compare, compare_json};

fn example() -> PlanVersion {
    let prices = vec![
        meter_price("calls", "1000", "graduated 10000 at 0.001, rest at 0.0005"),
        meter_price("bytes", "0", "package 1000000 for 0.09"),
    ];
    plan("EUR", Some("29.90"), prices)
}

/// An invoice and a correction of it.
fn documents(plan: &PlanVersion) -> Vec<Invoice> {
    let first = numbered(draft(&input(plan, &usage("calls 12500.5 in 40"))).unwrap(), 1);
    let earlier = [first.clone()];
    let usage = usage("calls 12600 in 41, bytes 5 in 1");
    let later =
        CorrectionInput { id: "inv_2".to_owned(), plan, earlier: &earlier, usage: &usage, cut: cut(150) };
    vec![first, numbered(correction(&later).unwrap().unwrap(), 2)]
}

#[test]
fn a_document_is_read_back_as_the_same_bytes() {
    for document in documents(&example()) {
        let text = document.canonical_json().unwrap();
        let back: Invoice = serde_json::from_str(&text).unwrap();
        assert_eq!(back, document);
        assert_eq!(back.canonical_json().unwrap(), text);
        // However the JSON was kept meanwhile: other order, white space.
        let pretty = serde_json::to_string_pretty(&document).unwrap();
        let back: Invoice = serde_json::from_str(&pretty).unwrap();
        assert_eq!(back.canonical_json().unwrap(), text);
        assert_eq!(check_hashes(&back), []);
        assert_eq!(compare(&back, &document), []);
    }
}

#[test]
fn deriving_again_gives_the_same_bytes() {
    let (one, other) = (documents(&example()), documents(&example()));
    for (stored, derived) in one.iter().zip(&other) {
        assert_eq!(stored.canonical_json().unwrap(), derived.canonical_json().unwrap());
    }
}

/// The bytes of a document are a promise: a change here is a new `ENGINE_VERSION`.
#[test]
fn the_hashes_of_a_known_document() {
    let documents = documents(&example());
    let hashes: Vec<_> = documents.iter().map(|document| document.hash.as_str()).collect();
    assert_eq!(hashes, KNOWN_HASHES);
}

const KNOWN_HASHES: [&str; 2] = [
    "38a5e77906ccef1b247c79605b6083429708b992f09a70012fe3fbb6fe8cadae",
    "7ad4dac0fed65542448e2aee1263b03ed55ff4024f8efc4f0170af8d7982731e",
];

#[test]
fn other_usage_is_found_where_it_stands() {
    let plan = example();
    let one = draft(&input(&plan, &usage("calls 12500.5 in 40"))).unwrap();
    let other = draft(&input(&plan, &usage("calls 12501.5 in 40"))).unwrap();
    let found: Vec<_> = compare(&one, &other).iter().map(ToString::to_string).collect();
    let facts = [
        "lines[1].quantity: stored \"12500.5\", derived \"12501.5\"",
        "lines[1].rated_quantity: stored \"12500.5\", derived \"12501.5\"",
        "lines[1].tiers[1].amount: stored \"0.75025\", derived \"0.75075\"",
        "lines[1].tiers[1].quantity: stored \"1500.5\", derived \"1501.5\"",
        "lines[1].unrounded_amount: stored \"10.75025\", derived \"10.75075\"",
    ];
    assert_eq!(found[..5], facts);
    assert!(
        found[5].starts_with("hash: ") && found[6].starts_with("lines[1].hash: ") && found.len() == 7,
        "{found:?}"
    );
}

#[test]
fn a_line_too_many_and_a_field_too_few_are_found() {
    let document = serde_json::to_value(&documents(&example())[0]).unwrap();
    let mut longer = document.clone();
    longer["lines"].as_array_mut().unwrap().push(Value::from(7));
    let found = compare_json(&longer, &document);
    assert_eq!(found[0].to_string(), "lines[3]: stored 7, derived (absent)");
    let mut shorter = document.clone();
    shorter.as_object_mut().unwrap().remove("zone");
    assert_eq!(
        compare_json(&shorter, &document)[0].to_string(),
        "zone: stored (absent), derived \"Europe/Berlin\""
    );
}

/// Every place in a document that holds a value, as a JSON pointer.
fn leaves(value: &Value, path: String, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| leaves(value, format!("{path}/{name}"), out))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, format!("{path}/{index}"), out));
        }
        _ => out.push(path),
    }
}

/// Another value of the same kind, so that the document can still be read.
fn changed(value: &Value) -> Vec<Value> {
    let texts = [
        "1",
        "9.5",
        "WEIR-000077",
        "1999-01-01T00:00:00.000Z",
        "JPY",
        "other",
        "adjustment",
        "invoice",
        "correction",
        "usage",
    ];
    let mut others: Vec<_> = texts.into_iter().map(Value::from).collect();
    others.extend([
        Value::from(77),
        Value::Null,
        serde_json::json!({"amount": "1.00", "currency": "EUR"}),
        serde_json::json!({"id": "inv_9", "number": "WEIR-000009"}),
    ]);
    others.retain(|other| other != value);
    others
}

#[test]
fn no_field_can_change_without_a_hash_or_sum_that_says_so() {
    for document in documents(&example()) {
        let value = serde_json::to_value(&document).unwrap();
        let mut places = Vec::new();
        leaves(&value, String::new(), &mut places);
        assert!(places.len() > 60);
        for place in places {
            let mut read = 0;
            for other in changed(value.pointer(&place).unwrap()) {
                let mut forged = value.clone();
                *forged.pointer_mut(&place).unwrap() = other;
                // What cannot be read any more is refused before it is hashed.
                let Ok(forged) = serde_json::from_value::<Invoice>(forged) else { continue };
                read += usize::from(forged != document);
                assert!(
                    forged == document || !check_hashes(&forged).is_empty(),
                    "{place} can be changed unseen"
                );
            }
            assert!(read > 0, "{place} was never changed into something readable");
        }
    }
}
