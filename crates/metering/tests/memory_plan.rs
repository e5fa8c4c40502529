//! Which files a shard starts with and what is read again, as a table.

use weir_metering::identity::{Day, MemoryPlan, SealedFile};

fn check(needed: (i64, i64), files: &[(i64, i64)], used: &[(i64, i64)], gaps: &[(i64, i64)]) {
    let file = |&(from, to): &(i64, i64)| SealedFile { from, to, day: Day(1), ids: 1 };
    let plan = MemoryPlan::new(needed.0, needed.1, files.iter().map(file));
    let found: Vec<_> = plan.files.iter().map(|file| (file.from, file.to)).collect();
    assert_eq!((&found[..], &plan.gaps[..]), (used, gaps), "{files:?} for {needed:?}");
}

#[test]
fn files_are_used_and_gaps_are_read_again() {
    check((0, 90), &[], &[], &[(0, 90)]);
    check((0, 90), &[(0, 40), (40, 80)], &[(0, 40), (40, 80)], &[(80, 90)]);
    check((0, 90), &[(40, 80)], &[(40, 80)], &[(0, 40), (80, 90)]);
    check((0, 90), &[(40, 90), (0, 40)], &[(0, 40), (40, 90)], &[(90, 90)]);
    // Older than what is needed; partly older; beyond what was counted.
    check((50, 90), &[(0, 50), (50, 60)], &[(50, 60)], &[(60, 90)]);
    check((50, 90), &[(20, 60)], &[(20, 60)], &[(60, 90)]);
    check((0, 90), &[(0, 40), (40, 91)], &[(0, 40)], &[(40, 90)]);
    // Files never overlap: of two that begin together the longer one.
    check((0, 90), &[(0, 40), (0, 60), (40, 80)], &[(0, 60)], &[(60, 90)]);
    check((0, 90), &[(0, 0), (7, 3)], &[], &[(0, 90)]);
    check((0, 0), &[], &[], &[(0, 0)]);
}
