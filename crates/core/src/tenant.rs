//! The name under which a tenant's events are counted: the CloudEvents
//! `subject`, the Kafka key, the id in every URL.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest tenant id, in bytes. Short enough for a file name, a header and
/// a Postgres index entry beside other columns.
pub const TENANT_ID_BYTES_MAX: usize = 64;

/// A tenant's id: 1 to 64 of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

/// Why a text is not a tenant id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant id is 1 to 64 letters, digits, dots, underscores and hyphens, and begins with a letter or digit"
)]
pub struct InvalidTenantId;

impl TenantId {
    /// Takes a text as a tenant id, or says why not.
    pub fn new(text: &str) -> Result<Self, InvalidTenantId> {
        if Self::is_valid(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidTenantId) }
    }

    /// Whether `text` would be taken by [`TenantId::new`]; allocates nothing.
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        (1..=TENANT_ID_BYTES_MAX).contains(&bytes.len())
            && bytes[0].is_ascii_alphanumeric()
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenantId;
    fn try_from(text: String) -> Result<Self, InvalidTenantId> {
        Self::new(&text)
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.0.to_string()
    }
}

impl std::borrow::Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}
