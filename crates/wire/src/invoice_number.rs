//! Records of weir.invoices.v1, the compacted topic of invoice numbers that were given: key
//! `legal entity/number`, value JSON with the number, the invoice's id and its hash.

use serde::Deserialize;
use weir_billing::InvoiceNumber;
use weir_billing::number::InvalidNumber;

/// What a record says: whose number was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenNumber {
    /// The key of the legal entity.
    pub legal_entity: String,
    /// The number.
    pub number: InvoiceNumber,
}

/// Why a record of the topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableNumber {
    /// The key is not text.
    #[error("the key is not UTF-8")]
    Key,
    /// The value is not JSON with a number.
    #[error("the value is not JSON with a number")]
    Value(#[source] serde_json::Error),
    /// The number is none of Weir's.
    #[error(transparent)]
    Number(#[from] InvalidNumber),
}

/// The member that is read; whatever stands beside it is for others.
#[derive(Deserialize)]
struct Body {
    number: String,
}

/// The key of a number. A legal entity's key holds no slash.
pub fn key(legal_entity: &str, number: &InvoiceNumber) -> String {
    format!("{legal_entity}/{number}")
}

/// Reads a record.
///
/// # Errors
/// When it is none that Weir wrote.
pub fn decode(record_key: &[u8], value: &[u8]) -> Result<GivenNumber, UnreadableNumber> {
    let record_key = std::str::from_utf8(record_key).map_err(|_| UnreadableNumber::Key)?;
    let legal_entity = record_key.split_once('/').map_or(record_key, |(entity, _)| entity);
    let body: Body = serde_json::from_slice(value).map_err(UnreadableNumber::Value)?;
    Ok(GivenNumber { legal_entity: legal_entity.to_owned(), number: InvoiceNumber::parse(&body.number)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_nothing_else_is() {
        let number = InvoiceNumber::parse("ACME-000007").unwrap();
        let value = br#"{"number":"ACME-000007","invoice_id":"x","hash":"y"}"#;
        let given = decode(key("acme", &number).as_bytes(), value).unwrap();
        assert_eq!(given, GivenNumber { legal_entity: "acme".into(), number });
        assert!(matches!(decode(b"\xff", value), Err(UnreadableNumber::Key)));
        for bad in [&b"{"[..], b"{}", b"[]", br#"{"number":7}"#] {
            assert!(matches!(decode(b"acme/x", bad), Err(UnreadableNumber::Value(_))));
        }
        assert!(matches!(decode(b"acme/x", br#"{"number":"ACME-7"}"#), Err(UnreadableNumber::Number(_))));
    }
}
