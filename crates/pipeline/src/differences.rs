//! What a check finds wrong, in words: the first ones, and how many more.

/// Differences kept; more are counted.
const KEPT_MAX: usize = 20;

/// Differences as they are found. Damage that is everywhere takes no more memory than some.
#[derive(Clone, Debug, Default)]
pub(crate) struct Differences {
    kept: Vec<String>,
    left_out: u64,
}

impl Differences {
    /// One more.
    pub(crate) fn add(&mut self, what: String) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(what);
        } else {
            self.left_out += 1;
        }
    }

    /// The first ones, and a line on how many more there are.
    pub(crate) fn told(self) -> Vec<String> {
        let Self { kept: mut told, left_out } = self;
        if left_out > 0 {
            told.push(format!("and {left_out} more"));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_and_the_rest_is_counted() {
        let mut found = Differences::default();
        for nth in 0..1_000 {
            found.add(nth.to_string());
        }
        assert_eq!(found.kept.len(), KEPT_MAX);
        let told = found.told();
        assert_eq!((told[19].as_str(), told[20].as_str(), told.len()), ("19", "and 980 more", 21));
    }
}
