//! Plots: acts that belong together, in the middle of whatever else happens. Each is a trouble of
//! several parts that chance alone seldom puts in order: tenants that are billed at once, numbers that left
//! the house before the ledger went back, an owner that sleeps through a restore.

use weir_core::time::HOUR_MS;

use super::acts::{Act, Script};
use super::cast::{Cast, TenantCast};
use super::events::Draft;
use crate::chance::Chance;

/// Scripts in a thousand that have one.
const PER_MILLE: u64 = 400;
/// Of a thousand others, those in which something is asked for anew after a restore.
const ANEW_PER_MILLE: u64 = 100;
/// Events of plots are numbered from here on, so that their ids are their own.
const FIRST_OF_A_PLOT: u64 = 10_000;
/// Longer than a billing period and its grace.
const PERIOD_MS: i64 = 33 * HOUR_MS;
/// Longer than an idle partition waits for its tick.
const TICK_MS: i64 = 12_000;

impl Script {
    /// The same, and some of them with a plot. From a chance of its own, so that the other scripts
    /// stay as they are.
    pub(crate) fn plotted(mut self, cast: &Cast, chance: &mut Chance) -> Self {
        let has_one = chance.per_mille(PER_MILLE);
        if !has_one && !chance.per_mille(ANEW_PER_MILLE) {
            return self;
        }
        let plot = match chance.below(4) {
            _ if !has_one => another_is_asked_for_after_a_restore(cast, chance),
            0 | 1 if cast.billed => many_bill_at_once(cast, chance),
            2 if cast.billed => numbers_are_lost(cast, chance),
            0 => others_are_created_after_a_restore(cast, chance),
            _ => an_owner_sleeps(cast, chance),
        };
        // Tenants are created only once, most of them soon: nobody else is in between.
        let begins = matches!(plot.get(1), Some(Act::CreateTenant(_)));
        // Whom a plot creates later was not there before.
        self.acts.retain(|act| begins || !matches!(act, Act::CreateTenant(_)) || !plot.contains(act));
        // A partition that is made anew is the end: a ledger that went back would not know of it.
        let anew = self.acts.iter().position(|act| matches!(act, Act::Recreate(_)));
        let mut end = anew.unwrap_or(self.acts.len());
        let mut at = if begins { 0 } else { chance.index(end + 1) };
        // What else happens goes on in between, unless the plot lets pass what it needs itself.
        let waits = plot.iter().any(|act| matches!(act, Act::Wait(_)));
        for act in plot {
            self.acts.insert(at, act);
            end += 1;
            let others = if begins || waits { 0 } else { chance.index(3) };
            at = (at + 1 + others).min(end);
        }
        self
    }
}

/// Time in which what is under way goes on: an answer or two for each.
pub(super) fn meanwhile(chance: &mut Chance, steps: i64) -> impl Iterator<Item = Act> + use<> {
    (0..chance.between(0, steps)).map(|_| Act::Pass(200))
}

/// Periods end, and each tenant is billed by a run of its own: they meet at the counters of those
/// who issue the invoices.
fn many_bill_at_once(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    let mut acts = vec![Act::Pass(PERIOD_MS), Act::Pass(TICK_MS), Act::Pass(TICK_MS)];
    // Whose period is not closed yet is not billed: again a little later.
    for _ in 0..3 {
        acts.extend(meanwhile(chance, 40));
        let one = |tenant: &TenantCast| Act::BillOne(chance.index(cast.processes), tenant.name.clone());
        acts.extend(cast.tenants.iter().map(one));
    }
    acts.push(Act::Bill(chance.index(cast.processes)));
    acts
}

/// Numbers have left the house when the ledger goes back to before it gave them.
fn numbers_are_lost(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    let mut acts = vec![Act::Backup, Act::Pass(PERIOD_MS), Act::Pass(TICK_MS), Act::Pass(TICK_MS)];
    acts.extend(meanwhile(chance, 40));
    acts.push(Act::Bill(chance.index(cast.processes)));
    acts.extend(meanwhile(chance, 80));
    acts.push(Act::Deliver(60));
    acts.push(Act::Restore(chance.per_mille(500)));
    acts.extend(meanwhile(chance, 40));
    acts.push(Act::Bill(chance.index(cast.processes)));
    acts
}

/// The ledger forgets a tenant that a process knows, and then another one is created, and used.
fn others_are_created_after_a_restore(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    let lost = chance.index(cast.tenants.len());
    let other = (lost + 1) % cast.tenants.len();
    let mut acts = vec![Act::Backup, Act::CreateTenant(lost)];
    acts.extend(meanwhile(chance, 40));
    acts.extend([Act::Restore(false), Act::CreateTenant(other)]);
    for number in 0..3 {
        acts.extend(meanwhile(chance, 5));
        acts.push(event_of(cast, other, number, chance));
    }
    acts.extend(meanwhile(chance, 10));
    acts
}

/// What is on its way is forgotten by the ledger, which then takes another under the same id. Three
/// times, since it has to be on its way just then.
fn another_is_asked_for_after_a_restore(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    let mut acts = Vec::new();
    for id in 0..3 {
        let tenant = chance.pick(&cast.tenants).name.clone();
        let adjust = |units| Act::Adjust(tenant.clone(), id, "credits", units, HOUR_MS);
        let (first, second) = (chance.between(1, 40), chance.between(41, 80));
        acts.extend([Act::Backup, adjust(first), Act::Deliver(1 + chance.below(4)), Act::Restore(false)]);
        acts.push(adjust(second));
    }
    acts
}

/// An owner sleeps through a restore, at any time or in the middle of its work.
fn an_owner_sleeps(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    if cast.processes > 1 && chance.per_mille(500) {
        owners_are_counted_alike(cast, chance)
    } else {
        an_owner_sleeps_through_a_restore(cast, chance)
    }
}

/// What an owner has sent arrives when the ledger went back to before it was one, and the next owner is
/// there, the how-manieth that it was. Again and again, since faults make owners take a partition twice.
fn owners_are_counted_alike(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    let number = chance.index(cast.tenants.len());
    let partition = cast.first_home(&cast.tenants[number].name);
    let one = chance.index(cast.processes);
    let other = (one + 1) % cast.processes;
    let tells = chance.per_mille(650);
    let mut acts = vec![Act::Move(partition, other)];
    for round in 0..3 {
        acts.extend([Act::Wait(40 + chance.below(60)), Act::Backup]);
        if tells {
            acts.extend(tells_of_the_lost(cast, number, round, chance));
        } else {
            acts.extend((0..2).map(|event| event_of(cast, number, 2 * round + event, chance)));
        }
        let work = if tells { 100 + chance.below(120) } else { 50 + chance.below(110) };
        let (what, rest) = if tells { ("insert rollups", 120) } else { ("commit", 40) };
        acts.push(Act::Late(one, what, work + rest + chance.below(60)));
        acts.extend([Act::Move(partition, one), Act::Wait(work)]);
        acts.extend([Act::Restore(false), Act::Move(partition, other), Act::Wait(rest + 40)]);
    }
    acts
}

/// A tenant that the ledger will not know has usage, of which there are no events.
fn tells_of_the_lost(cast: &Cast, number: usize, round: u64, chance: &mut Chance) -> Vec<Act> {
    let tenant = cast.tenants[number].name.clone();
    let adjusted = Act::Adjust(tenant, 100 + round, "credits", chance.between(1, 40), HOUR_MS);
    vec![Act::CreateTenant(number), adjusted, Act::Deliver(20)]
}

fn event_of(cast: &Cast, tenant: usize, number: u64, chance: &mut Chance) -> Act {
    let event = Draft::any(cast, FIRST_OF_A_PLOT + number, chance);
    Act::Produce(Draft { tenant: cast.tenants[tenant].name.clone(), ..event }, None)
}

/// An owner sleeps while the ledger goes back to before its time, and another one is appointed.
fn an_owner_sleeps_through_a_restore(cast: &Cast, chance: &mut Chance) -> Vec<Act> {
    let partition = i32::try_from(chance.index(usize::try_from(cast.partitions).unwrap_or(1))).unwrap_or(0);
    let sleeper = chance.index(cast.processes);
    let other = (sleeper + 1) % cast.processes;
    let mut acts = vec![Act::Backup];
    for _ in 0..chance.between(1, 3) {
        acts.push(Act::Move(partition, sleeper));
        acts.extend(meanwhile(chance, 40));
    }
    acts.extend([Act::Freeze(sleeper), Act::Restore(chance.per_mille(500)), Act::Move(partition, other)]);
    acts.extend(meanwhile(chance, 40));
    acts.push(Act::Thaw(sleeper));
    acts.extend(meanwhile(chance, 20));
    acts
}
