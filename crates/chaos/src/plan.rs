//! Which faults a round has, in which order: a function of the seed.

use local_stack::{Kind, Moment};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::fault::{Between, Fault, POINTS};

const MOMENTS: [Moment; 3] = [Moment::BeforeRequest, Moment::AfterRequest, Moment::BeforeAnswer];

/// An endless sequence of faults.
#[derive(Debug)]
pub struct Plan {
    random: StdRng,
    /// What comes next, last first.
    next: Vec<Fault>,
    /// What it is made of.
    pool: Pool,
}

#[derive(Debug)]
enum Pool {
    All { once: Vec<Fault> },
    Only(Vec<Fault>),
}

impl Plan {
    /// Every kind of fault. Kills come densely; what takes long comes once, spread over the first
    /// `count` faults. One of the losses (ledger, ClickHouse) comes in each round.
    pub fn of_all(seed: u64, count: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let lost = if random.random_bool(0.5) { Fault::LedgerRestored } else { Fault::ClickHouseLost };
        let mut once = vec![
            Fault::Freeze,
            Fault::Move { killed: random.random_bool(0.5) },
            Fault::Server(Kind::Postgres),
            Fault::Server(Kind::ClickHouse),
            Fault::Server(Kind::Kafka),
            lost,
        ];
        once.shuffle(&mut random);
        let mut plan = Self { random, next: Vec::new(), pool: Pool::All { once } };
        plan.refill(count.max(1));
        plan
    }

    /// Only these, again and again.
    pub fn only(seed: u64, faults: Vec<Fault>) -> Self {
        Self { random: StdRng::seed_from_u64(seed), next: Vec::new(), pool: Pool::Only(faults) }
    }

    /// The next fault.
    pub fn next_fault(&mut self) -> Option<Fault> {
        if self.next.is_empty() {
            self.refill(40);
        }
        self.next.pop()
    }

    /// A number below `end`, for choosing whom a fault meets.
    pub fn roll(&mut self, end: usize) -> usize {
        self.random.random_range(0..end.max(1))
    }

    fn refill(&mut self, count: usize) {
        match &mut self.pool {
            Pool::Only(faults) => {
                self.next.clone_from(faults);
                self.next.reverse();
            }
            Pool::All { once } => {
                let mut next: Vec<Fault> = Vec::with_capacity(count);
                let mut points: Vec<_> = POINTS.to_vec();
                // Before a ledger is restored nothing is billed: its numbers would be ahead for ever.
                let bills = !once.contains(&Fault::LedgerRestored);
                points.retain(|point| bills || point.between != Between::Billing);
                points.shuffle(&mut self.random);
                while next.len() < count {
                    let point = points[next.len() % points.len()];
                    let moment = MOMENTS[self.random.random_range(0..MOMENTS.len())];
                    next.push(match self.random.random_range(0..20) {
                        0..=5 => Fault::Kill,
                        6 => Fault::KillAll,
                        7 => Fault::KillAtWebhook,
                        8 | 9 => Fault::Cut(moment),
                        10 => Fault::CutAll,
                        _ => Fault::KillAt(point),
                    });
                }
                for fault in once.drain(..) {
                    let place = self.random.random_range(0..=next.len() * 3 / 4);
                    next.insert(place, fault);
                }
                next.reverse();
                self.next = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64) -> Vec<Fault> {
        let mut plan = Plan::of_all(seed, 40);
        (0..46).filter_map(|_| plan.next_fault()).collect()
    }

    #[test]
    fn a_seed_says_everything() {
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
    }

    #[test]
    fn every_round_has_each_slow_fault_and_bills_nothing_before_a_restore() {
        for seed in 0..50 {
            let faults = first(seed);
            assert!(faults.contains(&Fault::Freeze), "seed {seed}");
            assert!(faults.contains(&Fault::Server(Kind::Kafka)), "seed {seed}");
            let restored = faults.iter().position(|fault| *fault == Fault::LedgerRestored);
            let lost = faults.contains(&Fault::ClickHouseLost);
            assert!(restored.is_some() != lost, "seed {seed}");
            let billed = faults
                .iter()
                .position(|fault| matches!(fault, Fault::KillAt(point) if point.between == Between::Billing));
            if let (Some(restored), Some(billed)) = (restored, billed) {
                assert!(billed > restored, "seed {seed}");
            }
        }
    }
}
