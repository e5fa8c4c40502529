//! Widening: the topic is given more partitions while producers go on by both numbers of them. In
//! some scripts that is part of a plot: a tenant is created only afterwards, and something began
//! before that has to do with it.

use weir_core::journal::partition_of;

use super::acts::{Act, Script, limits_of};
use super::cast::Cast;
use super::plots::meanwhile;
use crate::chance::Chance;

/// Scripts in a thousand whose topic is widened, of those whose ledger never goes back.
const PER_MILLE: u64 = 250;
/// Of a thousand of them, those with a tenant that is created only afterwards.
const LATECOMERS_PER_MILLE: u64 = 600;
/// The revision of limits of a plot: the last that the tenant is given.
const LAST_REVISION: i64 = 1_000;

impl Script {
    /// The same, and in some of them the topic is widened, while producers go on by both numbers of
    /// partitions. From a chance of its own, so that the other scripts stay as they are. Not where the
    /// ledger goes back: tenants that were lost may then live elsewhere, which the oracle cannot tell.
    pub(crate) fn widened(mut self, cast: &Cast, chance: &mut Chance) -> Self {
        let goes_back = |act: &Act| matches!(act, Act::Recreate(_) | Act::Restore(_));
        if self.acts.iter().any(goes_back) || !chance.per_mille(PER_MILLE) {
            return self;
        }
        let more = i32::try_from(chance.between(1, 3)).unwrap_or(1);
        let latecomer =
            if chance.per_mille(LATECOMERS_PER_MILLE) { latecomer(cast, more, chance) } else { None };
        self.acts.retain(|act| latecomer.is_none_or(|tenant| *act != Act::CreateTenant(tenant)));
        let at = chance.index(self.acts.len() + 1);
        for act in &mut self.acts[at..] {
            if let Act::Produce(draft, by_key @ None) = act
                && chance.per_mille(400)
            {
                *by_key = Some(cast.first_home(&draft.tenant));
            }
        }
        self.acts.insert(at, Act::WidenTopic(more));
        let next = (at + 1 + chance.index(6)).min(self.acts.len());
        self.acts.insert(next, Act::WidenLedger);
        if let Some(tenant) = latecomer {
            self.expect(tenant, (at, next), cast, chance);
        }
        self
    }

    /// The tenant is created once the ledger is widened, which it is by the act at `next`.
    fn expect(&mut self, tenant: usize, (at, next): (usize, usize), cast: &Cast, chance: &mut Chance) {
        self.acts.insert(next + 1, Act::CreateTenant(tenant));
        if cast.billed && chance.per_mille(600) {
            self.acts.splice(next..next, runs_are_under_way(cast, chance));
        } else {
            self.acts.splice(at..at, limits_are_there(cast, tenant, chance));
        }
    }
}

/// A tenant that would have lived elsewhere before the topic was widened.
fn latecomer(cast: &Cast, more: i32, chance: &mut Chance) -> Option<usize> {
    let moves = |number: &usize| {
        let name = &cast.tenants[*number].name;
        cast.first_home(name) != partition_of(name.as_bytes(), cast.partitions + more)
    };
    let moving: Vec<usize> = (0..cast.tenants.len()).filter(moves).collect();
    (!moving.is_empty()).then(|| *chance.pick(&moving))
}

/// A plot: billing runs have begun when a tenant comes that lives where there was no partition.
fn runs_are_under_way(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    let mut acts = Vec::new();
    for _ in 0..3 {
        acts.push(Act::Bill(chance.index(cast.processes)));
        acts.extend(meanwhile(chance, 4));
    }
    acts
}

/// A plot: a name has limits in force before there is a tenant of that name.
fn limits_are_there(cast: &Cast, tenant: usize, chance: &mut Chance) -> Vec<Act> {
    let name = cast.tenants[tenant].name.clone();
    let mut acts = vec![limits_of(name, LAST_REVISION, chance), Act::Deliver(60)];
    acts.extend(meanwhile(chance, 20));
    acts
}
