//! The partition that each tenant's records are counted in: its home. A tenant keeps it for
//! ever, however many partitions the usage topic is given later, because everything that is
//! known of it is kept by partition. So its home follows from its name and from how many
//! partitions there were when it was created.

use std::collections::HashMap;

use crate::journal::{Partition, partition_of};
use crate::tenant::TenantId;

/// Where the tenants of one ledger are at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Homes {
    partitions: i32,
    /// How many partitions there were for those tenants that were created among another number.
    earlier: HashMap<TenantId, i32>,
}

impl Homes {
    /// Homes among so many partitions, as far as nothing else is said.
    pub fn new(partitions: i32) -> Self {
        Self { partitions, earlier: HashMap::new() }
    }

    /// With one more tenant, which was created among `partitions`.
    #[must_use]
    pub fn with(mut self, tenant: TenantId, partitions: i32) -> Self {
        if partitions != self.partitions {
            self.earlier.insert(tenant, partitions);
        }
        self
    }

    /// How many partitions are counted now.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// The partition of a tenant. One that does not exist would live where it would be created now.
    pub fn of(&self, tenant: &str) -> Partition {
        partition_of(tenant.as_bytes(), self.width(tenant))
    }

    /// Whether both say the same of every one of these tenants.
    pub fn agree<'a>(&self, other: &Self, mut tenants: impl Iterator<Item = &'a str>) -> bool {
        self == other || tenants.all(|tenant| self.of(tenant) == other.of(tenant))
    }

    fn width(&self, tenant: &str) -> i32 {
        // Most ledgers were never widened.
        if self.earlier.is_empty() {
            return self.partitions;
        }
        self.earlier.get(tenant).copied().unwrap_or(self.partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_keeps_its_home() {
        let names: Vec<_> = (0..200).map(|n| TenantId::new(&format!("tenant-{n}")).unwrap()).collect();
        let (old, new) = names.split_at(100);
        let before = Homes::new(3);
        let after = old.iter().fold(Homes::new(4), |homes, tenant| homes.with(tenant.clone(), 3));
        assert!(old.iter().all(|tenant| after.of(tenant.as_str()) == before.of(tenant.as_str())));
        let among_four = |tenant: &TenantId| partition_of(tenant.as_str().as_bytes(), 4);
        assert!(new.iter().all(|tenant| after.of(tenant.as_str()) == among_four(tenant)));
        assert!(old.iter().any(|tenant| after.of(tenant.as_str()) != among_four(tenant)));
        assert!(before.agree(&after, old.iter().map(TenantId::as_str)));
        assert!(!before.agree(&after, ["somebody"].into_iter()));
    }
}
