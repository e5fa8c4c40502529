//! A record of the topic of invoice numbers.

use weir_billing::InvoiceNumber;
use weir_wire::invoice_number::{decode, key};

use crate::Seeds;
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

/// Reads a key and a value.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let record_key = pieces.bytes();
    let Ok(given) = within(bound(64 << 10, 16, input), || decode(record_key, pieces.0)) else { return };
    assert!(!given.legal_entity.contains('/'));
    let value = serde_json::json!({ "number": given.number.to_string() }).to_string();
    let again = decode(key(&given.legal_entity, &given.number).as_bytes(), value.as_bytes());
    assert_eq!(again.ok(), Some(given));
}

/// Records as Weir writes them, and one that it does not.
pub fn seeds() -> Seeds {
    let seed = |number: &str| {
        let value = format!(r#"{{"hash":"a3","invoice_id":"0197","number":"{number}"}}"#);
        Joined::default().bytes(format!("acme/{number}").as_bytes()).raw(value.as_bytes()).0
    };
    assert!(InvoiceNumber::parse("ACME-000001").is_ok());
    ["ACME-000001", "ACME-18446744073709551615", "ACME-1"]
        .map(|number| (number.to_owned(), seed(number)))
        .into()
}
