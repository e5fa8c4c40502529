//! Invoice numbers: a prefix for the legal entity, a hyphen, and a counter of at least
//! six digits (`ACME-000001`). Gapless means that each is the counter before it plus
//! one; who keeps the counter, and in which transaction, is the ledger's business.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Digits that a counter is filled up to.
const DIGITS: usize = 6;

/// What a legal entity's numbers begin with: 1 to 12 of `A-Z 0-9`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumberPrefix(String);

/// The number of an invoice or correction. Ordered by prefix, then by counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InvoiceNumber {
    prefix: NumberPrefix,
    counter: u64,
}

/// Why a text or number is not an invoice number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNumber {
    /// Not a prefix.
    #[error("{0:?} cannot begin an invoice number: 1 to 12 of A-Z and 0-9, beginning with a letter")]
    Prefix(String),
    /// Not a number as Weir writes it.
    #[error("{0:?} is not an invoice number such as ACME-000001")]
    Number(String),
    /// Counters begin at 1.
    #[error("invoice numbers are counted from 1")]
    Zero,
}

impl NumberPrefix {
    /// Takes a text as a prefix, or says why not.
    pub fn new(text: &str) -> Result<Self, InvalidNumber> {
        let bytes = text.as_bytes();
        let fits = (1..=12).contains(&bytes.len())
            && bytes[0].is_ascii_uppercase()
            && bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidNumber::Prefix(text.chars().take(32).collect()))
        }
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl InvoiceNumber {
    /// The number with this counter, from 1.
    pub fn new(prefix: NumberPrefix, counter: u64) -> Result<Self, InvalidNumber> {
        if counter == 0 { Err(InvalidNumber::Zero) } else { Ok(Self { prefix, counter }) }
    }

    /// Reads a number exactly as it is written by `Display`.
    pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
        let bad = || InvalidNumber::Number(text.chars().take(64).collect());
        let (prefix, digits) = text.split_once('-').ok_or_else(bad)?;
        let number = Self::new(NumberPrefix::new(prefix)?, digits.parse().map_err(|_| bad())?)?;
        if number.to_string() == text { Ok(number) } else { Err(bad()) }
    }

    /// Whose number it is.
    pub fn prefix(&self) -> &NumberPrefix {
        &self.prefix
    }

    /// Its place in the sequence, from 1.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// The number after this one.
    pub fn next(&self) -> Self {
        Self { prefix: self.prefix.clone(), counter: self.counter.saturating_add(1) }
    }

    /// Whether it is the one right after `other`, of the same legal entity.
    pub fn follows(&self, other: &Self) -> bool {
        self.prefix == other.prefix && other.counter.checked_add(1) == Some(self.counter)
    }
}

impl fmt::Display for NumberPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InvoiceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:0width$}", self.prefix, self.counter, width = DIGITS)
    }
}

impl TryFrom<String> for NumberPrefix {
    type Error = InvalidNumber;
    fn try_from(text: String) -> Result<Self, InvalidNumber> {
        Self::new(&text)
    }
}

impl From<NumberPrefix> for String {
    fn from(prefix: NumberPrefix) -> String {
        prefix.0
    }
}

impl TryFrom<String> for InvoiceNumber {
    type Error = InvalidNumber;
    fn try_from(text: String) -> Result<Self, InvalidNumber> {
        Self::parse(&text)
    }
}

impl From<InvoiceNumber> for String {
    fn from(number: InvoiceNumber) -> String {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_written_and_nothing_else_is() {
        for text in ["ACME-000001", "A1-999999", "ACME-1000000"] {
            assert_eq!(InvoiceNumber::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["ACME-1", "ACME-000000", "ACME-0000001", "acme-000001", "ACME", "-000001", "ACME-+00001", ""]
        {
            assert!(InvoiceNumber::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_order_is_the_counters_not_the_texts() {
        let number = |text| InvoiceNumber::parse(text).unwrap();
        assert!(number("ACME-999999") < number("ACME-1000000"));
        assert_eq!(number("ACME-999999").next(), number("ACME-1000000"));
        assert!(number("ACME-000002").follows(&number("ACME-000001")));
        assert!(!number("ACME-000003").follows(&number("ACME-000001")));
        assert!(!number("EMCA-000002").follows(&number("ACME-000001")));
    }
}
