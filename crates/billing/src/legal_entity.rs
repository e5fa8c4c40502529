//! The legal entities that issue invoices. Each numbers its own documents.

use serde::{Deserialize, Serialize};

use crate::name::LegalEntityKey;
use crate::number::NumberPrefix;

/// Who issues an invoice. Published once: documents refer to it, so it does not change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegalEntity {
    /// Its name inside Weir.
    pub key: LegalEntityKey,
    /// Its registered name.
    pub name: String,
    /// Its address, a line each, without the country.
    pub address: Vec<String>,
    /// Its country: two capital letters of ISO 3166-1.
    pub country: String,
    /// What its invoice numbers begin with; no other entity has the same.
    pub number_prefix: NumberPrefix,
    /// Its tax number, where it has one.
    #[serde(default)]
    pub tax_id: Option<String>,
}
