//! When which tenant was in the catalogue. An event of a tenant that came or went while the
//! event waited may have been judged either way; then the ledger's word stands.

use std::collections::BTreeMap;

/// Spans of presence by tenant, in decisions of the simulation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence(BTreeMap<String, Vec<(u64, u64)>>);

impl Presence {
    pub(crate) fn created(&mut self, tenant: &str, step: u64) {
        self.0.entry(tenant.to_owned()).or_default().push((step, u64::MAX));
    }

    pub(crate) fn lost(&mut self, tenant: &str, step: u64) {
        if let Some(last) = self.0.get_mut(tenant).and_then(|spans| spans.last_mut()) {
            last.1 = step;
        }
    }

    pub(crate) fn was_created(&self, tenant: &str) -> bool {
        self.0.contains_key(tenant)
    }

    /// Whether the tenant was there from one decision to another: always, never, or neither.
    pub(crate) fn between(&self, tenant: &str, from: u64, to: u64) -> Option<bool> {
        let spans = self.0.get(tenant).map(Vec::as_slice).unwrap_or_default();
        if spans.iter().any(|(begin, end)| *begin <= from && to < *end) {
            return Some(true);
        }
        let touches = spans.iter().any(|(begin, end)| *begin <= to && from <= *end);
        if touches { None } else { Some(false) }
    }

    /// Whether the tenant ever went away.
    pub(crate) fn has_gaps(&self, tenant: &str) -> bool {
        self.0.get(tenant).is_some_and(|spans| spans.len() > 1)
    }
}
