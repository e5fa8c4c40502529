//! What a batch is judged by: meters and tenants as they stood at one version of
//! the catalogue. Immutable once built; shared between shards.

use std::collections::HashMap;

use weir_core::{HourAlignment, Span, TenantId};

use crate::meter::Meter;

/// What counting needs to know of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFacts {
    /// Where its hours begin.
    pub alignment: HourAlignment,
    /// Its billing periods, by rising start, without gaps; stored, not computed here.
    pub periods: Vec<Span>,
}

/// Meters and tenants at one version.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Rises with every change of meters or tenants.
    pub version: i64,
    /// All versions of all meters.
    pub meters: Vec<Meter>,
    /// All tenants whose events are counted (suspended ones too).
    pub tenants: HashMap<TenantId, TenantFacts>,
}
