//! Invoices, corrections, and corrections of corrections.

use proptest::prelude::*;

use super::*;
use crate::correction::{CorrectionInput, correction};
use crate::draft::draft;
use crate::invoice::{DocumentType, InvoiceError, LineKind};

fn prices() -> Vec<MeterPrice> {
    vec![
        meter_price("calls", "1000", "graduated 10000 at 0.001, rest at 0.0005"),
        meter_price("bytes", "0", "package 1000000 for 0.09"),
        meter_price("users", "0", "per_unit 4.00"),
    ]
}

/// A document as the tests below write it: a line each, then the total.
fn shown(invoice: &Invoice) -> String {
    let line = |line: &crate::InvoiceLine| {
        let meter = line.meter.as_ref().map_or("flat fee", |meter| meter.as_str());
        let before = line.previously_billed.map_or(String::new(), |money| format!(" after {}", money.amount));
        let (quantity, events) = (line.quantity, line.event_count);
        format!(
            "{} {meter} {quantity} in {events}: {}{before} -> {}\n",
            line.line, line.unrounded_amount, line.amount
        )
    };
    invoice.lines.iter().map(line).collect::<String>() + &format!("total {}", invoice.total)
}

fn check(invoice: &Invoice, expected: &str) {
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(shown(invoice).lines().collect::<Vec<_>>(), expected);
}

fn corrected<'a>(
    plan: &'a PlanVersion,
    earlier: &'a [Invoice],
    usage: &'a [UsageOfPeriod],
    offset: i64,
) -> CorrectionInput<'a> {
    CorrectionInput { id: format!("inv_{}", earlier.len() + 1), plan, earlier, usage, cut: cut(offset) }
}

#[test]
fn every_priced_meter_has_a_line_and_others_have_none() {
    let plan = plan("EUR", Some("29"), prices());
    let usage = usage("calls 12500.5 in 40, bytes 1000001 in 7, steps 99 in 9");
    let invoice = draft(&input(&plan, &usage)).unwrap();
    check(
        &invoice,
        "1 flat fee 1 in 0: 29 -> 29.00 EUR
         2 calls 12500.5 in 40: 10.75025 -> 10.75 EUR
         3 bytes 1000001 in 7: 0.18 -> 0.18 EUR
         4 users 0 in 0: 0 -> 0.00 EUR
         total 39.93 EUR",
    );
    assert_eq!((invoice.document_type, &invoice.number), (DocumentType::Invoice, &None));
    assert_eq!((invoice.lines[0].kind, invoice.lines[1].kind), (LineKind::FlatFee, LineKind::Usage));
}

#[test]
fn each_line_is_rounded_and_the_total_is_the_sum_of_the_lines() {
    let plan = plan(
        "EUR",
        None,
        vec![meter_price("a", "0", "per_unit 0.005"), meter_price("b", "0", "per_unit 0.005")],
    );
    check(
        &draft(&input(&plan, &usage("a 1 in 1, b 1 in 1"))).unwrap(),
        "1 a 1 in 1: 0.005 -> 0.01 EUR
         2 b 1 in 1: 0.005 -> 0.01 EUR
         total 0.02 EUR",
    );
}

#[test]
fn a_number_is_given_once_and_changes_only_the_head() {
    let plan = plan("EUR", Some("29"), prices());
    let draft = draft(&input(&plan, &[])).unwrap();
    let finalized = numbered(draft.clone(), 1);
    assert_eq!(finalized.lines, draft.lines);
    assert_ne!(finalized.hash, draft.hash);
    let again = finalize(finalized.clone(), finalized.number.clone().unwrap(), Timestamp::EPOCH);
    assert_eq!(
        again.unwrap_err().to_string(),
        "the document inv_1 has the number WEIR-000001 already; a finalized document never changes"
    );
}

#[test]
fn usage_given_twice_is_refused() {
    let plan = plan("EUR", None, prices());
    let error = draft(&input(&plan, &usage("calls 1 in 1, calls 1 in 1"))).unwrap_err();
    assert_eq!(error.to_string(), "usage of calls is given twice for one period");
}

#[test]
fn usage_below_zero_is_said_on_the_line() {
    let plan = plan("EUR", None, prices());
    let invoice = draft(&input(&plan, &usage("calls -5 in 1, users -2 in 1"))).unwrap();
    assert_eq!(invoice.lines[0].description, "calls (usage below zero costs nothing)");
    assert_eq!(
        (invoice.lines[2].description.as_str(), invoice.total.to_string()),
        ("users", "-8.00 EUR".to_owned())
    );
}

#[test]
fn a_late_event_makes_an_adjustment_for_the_difference_and_the_fee_stays() {
    let plan = plan("EUR", Some("29"), prices());
    let first = numbered(draft(&input(&plan, &usage("calls 3000 in 30, users 3 in 9"))).unwrap(), 1);
    assert_eq!(first.total.to_string(), "43.00 EUR");

    let same = usage("calls 3000 in 30, users 3 in 10");
    let earlier = vec![first];
    assert!(correction(&corrected(&plan, &earlier, &same, 120)).unwrap().is_none());

    let more = usage("calls 3504 in 31, users 3 in 10");
    let second = correction(&corrected(&plan, &earlier, &more, 120)).unwrap().unwrap();
    check(
        &second,
        "1 calls 504 in 1: 2.504 after 2.00 -> 0.50 EUR
         total 0.50 EUR",
    );
    let line = &second.lines[0];
    assert_eq!(
        (line.kind, line.rated_quantity, line.rated_event_count),
        (LineKind::Adjustment, quantity("3504"), 31)
    );
    assert_eq!(second.corrects.as_ref().unwrap().number.to_string(), "WEIR-000001");
    assert_eq!((second.cut, second.period), (cut(120), earlier[0].period));

    let less = usage("calls 2000 in 20, bytes 1 in 1, users 2 in 8");
    let earlier = vec![earlier[0].clone(), numbered(second, 2)];
    check(
        &correction(&corrected(&plan, &earlier, &less, 130)).unwrap().unwrap(),
        "1 calls -1504 in -11: 1 after 2.50 -> -1.50 EUR
         2 bytes 1 in 1: 0.09 after 0.00 -> 0.09 EUR
         3 users -1 in -1: 8 after 12.00 -> -4.00 EUR
         total -5.41 EUR",
    );
}

#[test]
fn late_usage_that_costs_nothing_still_stands_on_a_document() {
    let plan = plan("EUR", None, prices());
    let earlier = vec![numbered(draft(&input(&plan, &usage("calls 10 in 1"))).unwrap(), 1)];
    check(
        &correction(&corrected(&plan, &earlier, &usage("calls 11 in 2"), 101)).unwrap().unwrap(),
        "1 calls 1 in 1: 0 after 0.00 -> 0.00 EUR
         total 0.00 EUR",
    );
}

#[test]
fn corrections_that_are_refused() {
    let plan = plan("EUR", None, prices());
    let draft = draft(&input(&plan, &[])).unwrap();
    let first = numbered(draft.clone(), 1);
    let refused = |plan: &PlanVersion, earlier: &[Invoice], offset| {
        correction(&corrected(plan, earlier, &[], offset)).map_err(|error| error.to_string()).unwrap_err()
    };
    let needs = "a correction needs the finalized documents of its period, beginning with the invoice: ";
    assert_eq!(refused(&plan, &[], 100), format!("{needs}none was given"));
    assert_eq!(refused(&plan, &[draft], 100), format!("{needs}the invoice is a draft"));
    let differs = |what: &str| {
        format!(
            "the document inv_1 cannot be corrected together with the others or by this plan: its {what} differs"
        )
    };
    let second = PlanVersion { version: 2, ..plan.clone() };
    assert_eq!(refused(&second, std::slice::from_ref(&first), 100), differs("plan"));
    let other = Invoice { subscription_id: "sub_2".to_owned(), ..first.clone() };
    assert_eq!(refused(&plan, &[first.clone(), other], 100), differs("subscription"));
    assert_eq!(
        refused(&plan, &[first], 99),
        "a correction with the cut 1/3/99 cannot follow the document inv_1 with the cut 1/3/100"
    );
}

proptest! {
    /// However usage was revised, what was billed for the period sums to what it comes to now.
    #[test]
    fn corrections_sum_to_what_usage_comes_to_now(
        revisions in proptest::collection::vec((0_i128..20_000_000_000_000, -5_000_000_000_i128..5_000_000_000, -50_i64..50), 2..8),
    ) {
        let plan = plan("EUR", Some("29"), prices());
        let usage_of = |(calls, users, events): (i128, i128, i64)| {
            let entry = |name: &str, nanos: i128| UsageOfPeriod {
                meter: MeterName::new(name).unwrap(),
                quantity: Quantity::from_nanos(nanos).unwrap(),
                event_count: events,
            };
            vec![entry("calls", calls), entry("users", users), entry("bytes", calls * 1000)]
        };
        let mut documents: Vec<Invoice> = Vec::new();
        for (revision, counter) in revisions.iter().zip(1..) {
            let usage = usage_of(*revision);
            let made = if documents.is_empty() {
                Some(draft(&input(&plan, &usage)).unwrap())
            } else {
                correction(&corrected(&plan, &documents, &usage, 100 + i64::try_from(counter).unwrap())).unwrap()
            };
            documents.extend(made.map(|document| numbered(document, counter)));
            let now = draft(&input(&plan, &usage)).unwrap();
            let billed = documents.iter().try_fold(weir_core::Money::zero(now.currency), |sum, d| sum.checked_add(d.total));
            prop_assert_eq!(billed, Ok(now.total));
            for line in now.lines.iter().filter(|line| line.meter.is_some()) {
                let lines = documents.iter().flat_map(|d| &d.lines).filter(|l| l.meter == line.meter);
                let quantity = lines.map(|l| l.quantity).try_fold(Quantity::ZERO, Quantity::checked_add);
                prop_assert_eq!(quantity, Some(line.quantity));
            }
        }
    }
}

#[test]
fn amounts_beyond_money_are_refused_by_line() {
    let plan = plan("EUR", None, vec![meter_price("calls", "0", "per_unit 1000000")]);
    let usage = usage("calls 10000000000000000000000000000 in 1");
    let error = draft(&input(&plan, &usage)).unwrap_err();
    assert!(matches!(error, InvoiceError::Amount { line: 1, .. }), "{error}");
}
