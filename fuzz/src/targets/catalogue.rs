//! The catalogue file: any text. What is taken obeys every rule by itself, places of refusals
//! lie in the text, and a file that is applied changes nothing when it is applied again.

use weir_core::Timestamp;
use weir_wire::catalog_file::{Catalog, Refusal, difference, parse};

use crate::Seeds;
use crate::memory::{bound, within};

const EXAMPLE: &str = include_str!("../../../schemas/catalog/example.toml");

/// Reads the input as a file.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let file = match within(bound(256 << 10, 4_096, input), || parse(text)) {
        Ok(file) => file,
        Err(refusals) => return check_refusals(text, &refusals),
    };
    assert_eq!(parse(text).as_ref(), Ok(&file), "the same text says the same");
    for meter in &file.catalog.meters {
        assert_eq!(meter.validate(), Ok(()));
        let json = serde_json::to_string(meter).expect("a meter is JSON");
        assert_eq!(serde_json::from_str::<weir_metering::meter::Meter>(&json).as_ref().ok(), Some(meter));
    }
    let now = Timestamp::clamped(1_790_000_000_000);
    let again = difference(&file.catalog, &file, now, 3_600_000, 60_000).expect("nothing is new");
    assert!(again.changes.is_empty() && again.notes.is_empty(), "{again:?}");
    match difference(&Catalog::default(), &file, now, 3_600_000, 60_000) {
        Ok(first) => {
            let parts = &file.catalog;
            let expected = parts.legal_entities.len() + parts.meters.len() + parts.plans.len();
            assert_eq!((first.changes.len(), first.notes.len()), (expected, 0));
        }
        Err(refusals) => check_refusals(text, &refusals),
    }
}

fn check_refusals(text: &str, refusals: &[Refusal]) {
    assert!(!refusals.is_empty(), "a refusal has a reason");
    let lines = text.split('\n').count();
    for refusal in refusals {
        assert!((1..=lines).contains(&refusal.place.line), "{refusal} of {lines} lines");
        assert!(!refusal.to_string().is_empty());
    }
}

/// The example, whole and in parts.
pub fn seeds() -> Seeds {
    let mut seeds = vec![("example".to_owned(), EXAMPLE.as_bytes().to_vec())];
    let mut part = String::new();
    for block in EXAMPLE.split("\n\n") {
        let begins = ["[[legal_entity]]", "[[meter]]", "[[plan]]"].iter().any(|table| block.contains(table));
        if begins && !part.is_empty() {
            seeds.push((format!("part{:02}", seeds.len()), std::mem::take(&mut part).into_bytes()));
        }
        part.push_str(block);
        part.push('\n');
    }
    seeds.push((format!("part{:02}", seeds.len()), part.into_bytes()));
    seeds
}
