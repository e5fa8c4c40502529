//! The names by which the money side knows meters, plans and legal entities. One
//! rule for all three: 1 to 64 of `a-z 0-9 _ -`, beginning with a letter. They are
//! types of their own so that one cannot be given for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: 1 to 64 of a-z, 0-9, _ and -, beginning with a letter")]
pub struct InvalidName(String);

/// A meter's name. Cloning is cheap: the text is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeterName(Name);

/// A plan's name; its versions share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanKey(Name);

/// The name of a legal entity that issues invoices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LegalEntityKey(Name);

impl MeterName {
    /// Takes a text as a meter's name, or says why not.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        Name::new(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl PlanKey {
    /// Takes a text as a plan's key, or says why not.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        Name::new(text).map(Self)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl LegalEntityKey {
    /// Takes a text as a legal entity's key, or says why not.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        Name::new(text).map(Self)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl fmt::Display for MeterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PlanKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for LegalEntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Name(Arc<str>);

impl Name {
    fn new(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let fits = (1..=64).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if fits { Ok(Self(Arc::from(text))) } else { Err(InvalidName(text.chars().take(64).collect())) }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.to_string()
    }
}
