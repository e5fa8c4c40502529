//! What is done to the house from outside, in this order: producers write, time passes,
//! processes die and freeze, servers are away, the ledger goes back in time. A script is
//! data: it can be printed, cut shorter and played again.

use weir_core::time::{DAY_MS, HOUR_MS};

use super::cast::Cast;
use super::events::{Draft, Happened, happened};
use crate::chance::Chance;

/// Something that is done from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A producer writes an event; to another partition than its tenant's where one is given.
    Produce(Draft, Option<i32>),
    /// A producer writes again what was written before (counted back from the last), with
    /// another time or another value if so.
    Again(u64, Change, Option<i32>),
    /// A producer writes bytes that are no event.
    Garbage(i32, &'static str),
    /// A transaction is aborted: offsets without records.
    Hole(i32, i64),
    /// A tenant's limits change: tenant, revision, and (meter, limit, thresholds) of each.
    Limits(String, i64, Vec<(&'static str, i64, Vec<u16>)>),
    /// Usage of a meter is adjusted: tenant, id, meter, units, how long ago in milliseconds.
    Adjust(String, u64, &'static str, i64, i64),
    /// An event that stands in its home (counted back from the last that can be) is taken out.
    Void(u64),
    /// A tenant is created.
    CreateTenant(usize),
    /// Time passes, in milliseconds.
    Pass(i64),
    /// Nothing comes from outside for so many decisions.
    Wait(u64),
    /// The broker's clock is wrong by so many milliseconds from now on.
    BrokerClock(i64),
    /// A process dies.
    Kill(usize),
    /// A process is frozen.
    Freeze(usize),
    /// A process goes on.
    Thaw(usize),
    /// Calls of a kind that a process makes within so many decisions arrive only after them.
    Late(usize, &'static str, u64),
    /// A partition is given to a process.
    Move(i32, usize),
    /// A server is away (0 journal, 1 ledger, 2 projection) for so many milliseconds.
    Away(u8, i64),
    /// The ledger is backed up.
    Backup,
    /// The ledger goes back to its last backup; lost tenants are created again at once, or
    /// only later.
    Restore(bool),
    /// All processes are killed and a partition is made anew, with other records.
    Recreate(i32),
    /// Records go that are older than anything can need.
    Trim(i32),
    /// The topic is given so many more partitions.
    WidenTopic(i32),
    /// The ledger counts as many partitions as the topic has.
    WidenLedger,
    /// The projection's folder is deleted.
    DropProjection,
    /// A billing run begins in a process.
    Bill(usize),
    /// A billing run of one tenant begins in a process.
    BillOne(usize, String),
    /// Delivery from the outbox has a while for itself: so many decisions.
    Deliver(u64),
}

/// How a record that is written again differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Not at all: the same bytes.
    Nothing,
    /// Another time.
    Time(Happened),
    /// Another value.
    Value,
}

/// What happens in a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// In this order.
    pub(crate) acts: Vec<Act>,
}

const LIMITED: [&str; 6] = ["bytes", "calls", "credits", "level", "peak", "users"];

/// How often which kinds of trouble come, in a script.
struct Troubles {
    crashes: u64,
    freezes: u64,
    moves: u64,
    away: u64,
    clocks: u64,
    restores: bool,
    drops: bool,
    recreation: bool,
    billing: u64,
}

impl Script {
    /// The script of a seed.
    pub(crate) fn of(cast: &Cast, chance: &mut Chance) -> Self {
        let several = cast.processes > 1;
        let mut rate = |per_mille: u64| if chance.per_mille(600) { per_mille } else { 0 };
        let (crashes, freezes, moves) = (rate(25), rate(20), rate(15));
        let (away, clocks) = (rate(10), rate(10));
        let troubles = Troubles {
            crashes,
            freezes,
            moves: if several { moves } else { 0 },
            away,
            clocks,
            restores: chance.per_mille(250),
            drops: chance.per_mille(200),
            recreation: chance.per_mille(60),
            billing: if cast.billed { 45 } else { 0 },
        };
        let length = chance.between(40, 160);
        let mut acts = Vec::new();
        // What comes in a part that the ledger loses is the more interesting.
        let at_first = if troubles.restores { 500 } else { 800 };
        for tenant in 0..cast.tenants.len() {
            if chance.per_mille(at_first) {
                acts.push(Act::CreateTenant(tenant));
            }
        }
        let mut number = 0;
        for _ in 0..length {
            act(cast, &troubles, &mut number, chance, &mut acts);
        }
        if troubles.recreation {
            acts.push(Act::Recreate(i32::try_from(chance.below(3)).unwrap_or(0) % cast.partitions));
            acts.push(Act::Pass(chance.between(1_000, 60_000)));
        }
        Self { acts }
    }
}

impl Script {
    /// The same, and in some of them usage is adjusted in between. From a chance of its own, so that the
    /// other scripts stay as they are.
    pub(crate) fn adjusted(mut self, cast: &Cast, chance: &mut Chance) -> Self {
        if !chance.per_mille(300) {
            return self;
        }
        for _ in 0..chance.between(1, 12) {
            let act = if chance.per_mille(500) {
                Act::Void(chance.below(12))
            } else {
                let tenant = chance.pick(&cast.tenants).name.clone();
                let meter = *chance.pick(&["bytes", "calls", "calls", "credits", "peak"]);
                let ago_ms = chance.between(-2 * HOUR_MS, 8 * DAY_MS);
                Act::Adjust(tenant, chance.below(8), meter, chance.between(-30, 60), ago_ms)
            };
            let at = chance.index(self.acts.len() + 1);
            self.acts.insert(at, act);
        }
        self
    }
}

fn act(cast: &Cast, troubles: &Troubles, number: &mut u64, chance: &mut Chance, acts: &mut Vec<Act>) {
    let host = chance.index(cast.processes);
    let partition = i32::try_from(chance.index(usize::try_from(cast.partitions).unwrap_or(1))).unwrap_or(0);
    let mut roll = chance.below(1_000);
    let mut falls = |width: u64| {
        let inside = roll < width;
        roll = roll.wrapping_sub(width);
        inside
    };
    if falls(troubles.crashes) {
        acts.push(Act::Kill(host));
    } else if falls(troubles.freezes) {
        acts.push(if chance.per_mille(500) { Act::Freeze(host) } else { Act::Thaw(host) });
    } else if falls(troubles.moves) {
        acts.push(Act::Move(partition, host));
    } else if falls(troubles.away) {
        let server = u8::try_from(chance.below(3)).unwrap_or(0);
        acts.push(Act::Away(server, chance.between(100, 20_000)));
    } else if falls(troubles.clocks) {
        acts.push(Act::BrokerClock(chance.between(-7_200_000, 200_000)));
    } else if falls(if troubles.restores { 60 } else { 0 }) {
        restore(chance, acts);
    } else if falls(40) {
        acts.push(Act::Pass(*chance.pick(&[150, 1_100, 12_000, 60_000, HOUR_MS, 9 * HOUR_MS, DAY_MS])));
    } else if falls(30) {
        acts.push(limits(cast, chance, i64::try_from(acts.len()).unwrap_or(0)));
    } else if falls(15) {
        acts.push(Act::CreateTenant(chance.index(cast.tenants.len())));
    } else if falls(10) {
        acts.push(Act::Hole(partition, chance.between(1, 3)));
    } else if falls(15) {
        let garbage = chance.pick(&["{", "", "[1]", "\0\0\0", "plain", "{\"id\":1}"]);
        acts.push(Act::Garbage(partition, garbage));
    } else if falls(5) {
        acts.push(Act::Trim(partition));
    } else if falls(if troubles.drops { 8 } else { 0 }) {
        acts.push(Act::DropProjection);
    } else if falls(troubles.billing) {
        acts.push(match chance.below(4) {
            0 => Act::Deliver(if chance.per_mille(200) { 8 } else { 60 }),
            _ => Act::Bill(host),
        });
    } else if falls(160) {
        let change = match chance.below(6) {
            0..=2 => Change::Nothing,
            3..=4 => Change::Time(happened(chance)),
            _ => Change::Value,
        };
        let back = if chance.per_mille(500) { chance.below(5) } else { chance.below(200) };
        acts.push(Act::Again(back, change, foreign(partition, chance)));
    } else {
        // Producers write several at a time.
        for _ in 0..chance.between(1, 4) {
            *number += 1;
            let draft = Draft::any(cast, *number, chance);
            acts.push(Act::Produce(draft, foreign(partition, chance)));
        }
    }
}

/// A backup; or a restore, and then perhaps some time before anything else happens.
fn restore(chance: &mut Chance, acts: &mut Vec<Act>) {
    if chance.per_mille(500) {
        acts.push(Act::Backup);
        return;
    }
    acts.push(Act::Restore(chance.per_mille(500)));
    if chance.per_mille(500) {
        acts.extend((0..chance.between(5, 40)).map(|_| Act::Pass(200)));
    }
}

fn foreign(partition: i32, chance: &mut Chance) -> Option<i32> {
    chance.per_mille(120).then_some(partition)
}

fn limits(cast: &Cast, chance: &mut Chance, number: i64) -> Act {
    let tenant = chance.pick(&cast.tenants).name.clone();
    // Sometimes an old revision comes late.
    let revision = if chance.per_mille(850) { number + 1 } else { chance.between(1, 30) };
    limits_of(tenant, revision, chance)
}

/// Limits of some meters, of any size.
pub(super) fn limits_of(tenant: String, revision: i64, chance: &mut Chance) -> Act {
    let mut limits = Vec::new();
    for meter in LIMITED {
        if chance.per_mille(450) {
            let limit = chance.between(1, 300);
            let thresholds: &[u16] =
                chance.pick::<&[u16]>(&[&[50, 100], &[80, 100], &[10, 50, 100, 200], &[100]]);
            limits.push((meter, limit, thresholds.to_vec()));
        }
    }
    Act::Limits(tenant, revision, limits)
}
