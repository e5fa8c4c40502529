//! Names that are met again and again, each with a small number, so that counting compares
//! and copies numbers. Numbers follow the order of arrival, ranks the order of names.

use std::borrow::Borrow;
use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};

/// Different names with their numbers.
#[derive(Debug)]
pub(super) struct Names<T> {
    numbers: HashMap<T, u32>,
    names: Vec<T>,
    /// By number, for the names that were ranked last.
    ranks: Vec<u32>,
    /// Numbers in the order of their names.
    by_rank: Vec<u32>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), names: Vec::new(), ranks: Vec::new(), by_rank: Vec::new() }
    }
}

impl<T: Ord + Hash + Clone> Names<T> {
    /// The number of a name, if it was met.
    pub(super) fn find<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<u32>
    where
        T: Borrow<Q>,
    {
        self.numbers.get(name).copied()
    }

    /// The number of a name, which is met from now on.
    pub(super) fn enter(&mut self, name: &T) -> u32 {
        self.find(name).unwrap_or_else(|| {
            let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            assert_ne!(number, u32::MAX, "no partition has four thousand million names");
            self.names.push(name.clone());
            self.numbers.insert(name.clone(), number);
            number
        })
    }

    /// The name of a number.
    pub(super) fn name(&self, number: u32) -> &T {
        &self.names[at(number)]
    }

    /// Brings ranks up to date. Costs nothing when no name is new, else a walk over all.
    pub(super) fn rank_all(&mut self) {
        let Self { names, ranks, by_rank, .. } = self;
        if ranks.len() == names.len() {
            return;
        }
        // Both halves are in order already, which is what a stable sort is quick at.
        let mut new: Vec<u32> = (ranks.len()..names.len()).filter_map(|n| u32::try_from(n).ok()).collect();
        new.sort_unstable_by(|a, b| names[at(*a)].cmp(&names[at(*b)]));
        by_rank.append(&mut new);
        by_rank.sort_by(|a, b| names[at(*a)].cmp(&names[at(*b)]));
        ranks.resize(names.len(), 0);
        for (rank, number) in (0_u32..).zip(&*by_rank) {
            ranks[at(*number)] = rank;
        }
    }

    /// A name's place in the order of names, as of [`Names::rank_all`].
    pub(super) fn rank(&self, number: u32) -> u32 {
        self.ranks[at(number)]
    }

    /// The name at a place in the order of names, as of [`Names::rank_all`].
    pub(super) fn ranked(&self, rank: u32) -> &T {
        self.name(self.by_rank[at(rank)])
    }

    /// All numbers in the order of their names, as of [`Names::rank_all`].
    pub(super) fn by_rank(&self) -> &[u32] {
        &self.by_rank
    }
}

/// A number as an index.
pub(super) fn at(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_names_whenever_they_came() {
        let mut names = Names::<String>::default();
        for arrivals in [vec!["m", "b"], vec![], vec!["z", "a", "m", "c"]] {
            let numbers: Vec<u32> = arrivals.iter().map(|name| names.enter(&(*name).to_owned())).collect();
            assert_eq!(arrivals.iter().map(|name| names.find(*name).unwrap()).collect::<Vec<_>>(), numbers);
            names.rank_all();
        }
        let ranked: Vec<_> = names.by_rank().iter().map(|number| names.name(*number).as_str()).collect();
        assert_eq!(ranked, ["a", "b", "c", "m", "z"]);
        assert!(names.by_rank().iter().enumerate().all(|(rank, number)| at(names.rank(*number)) == rank));
    }
}
