//! Makes a failing play shorter: acts are left out and faults are spared as long as it still
//! fails, be it in another way. The decisions in between are those of the seed.

use crate::play::Options;
use crate::seeds::play_guarded;

/// Plays at most, for one seed.
const PLAYS_MAX: usize = 600;

/// The shortest failing play that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What is to be played.
    pub options: Options,
    /// How it fails.
    pub wrong: String,
    /// Acts before and after.
    pub acts: (usize, usize),
    /// Faults before and after.
    pub faults: (usize, usize),
}

struct Shrinker {
    plays_left: usize,
    options: Options,
    wrong: String,
}

impl Shrinker {
    /// Whether it still fails so; then that is what it is from now on.
    fn still_fails(&mut self, options: Options) -> bool {
        if self.plays_left == 0 {
            return false;
        }
        self.plays_left -= 1;
        let Some(wrong) = play_guarded(&options).wrong else { return false };
        (self.options, self.wrong) = (options, wrong);
        true
    }

    /// Leaves out acts: first half of them, in the end each.
    fn leave_out_acts(&mut self, all: usize) {
        let mut width = all.div_ceil(2);
        while width > 0 {
            let mut at = 0;
            loop {
                let kept = self.options.acts.clone().unwrap_or_else(|| (0..all).collect());
                if at >= kept.len() {
                    break;
                }
                let end = (at + width).min(kept.len());
                let fewer = kept[..at].iter().chain(&kept[end..]).copied().collect();
                if !self.still_fails(Options { acts: Some(fewer), ..self.options.clone() }) {
                    at += width;
                }
            }
            width /= 2;
        }
    }

    fn spare_faults(&mut self) {
        let happened = play_guarded(&self.options).faults;
        let mut width = happened.len().div_ceil(2);
        while width > 0 {
            for part in happened.chunks(width) {
                let mut spared = self.options.spared.clone();
                let before = spared.len();
                spared.extend(part.iter().cloned());
                if spared.len() > before {
                    self.still_fails(Options { spared, ..self.options.clone() });
                }
            }
            width /= 2;
        }
    }
}

/// Makes a failing play shorter; `None` when it does not fail.
pub fn shrink(options: &Options) -> Option<Shrunk> {
    let options = Options { told: false, ..options.clone() };
    let first = play_guarded(&options);
    let wrong = first.wrong?;
    let (acts, faults) = (first.acts.len(), first.faults.len());
    let mut shrinker = Shrinker { plays_left: PLAYS_MAX, options, wrong };
    shrinker.spare_faults();
    shrinker.leave_out_acts(acts);
    shrinker.spare_faults();
    let last = play_guarded(&shrinker.options);
    Some(Shrunk {
        acts: (acts, last.acts.len()),
        faults: (faults, last.faults.len()),
        options: shrinker.options,
        wrong: shrinker.wrong,
    })
}
