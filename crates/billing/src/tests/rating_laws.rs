//! Laws of rating that hold for any price and any usage.

use proptest::prelude::*;

use super::*;
use crate::exact::ExactAmount;
use crate::rating::{Rated, rate};

fn amounts() -> impl Strategy<Value = PriceAmount> {
    (0_u64..1_000_000, 0_u64..1_000_000_000_000)
        .prop_map(|(whole, picos)| PriceAmount::parse(&format!("{whole}.{picos:012}")).unwrap())
}

/// Fractional, from zero to 10^15 units.
fn quantities() -> impl Strategy<Value = Quantity> {
    prop_oneof![0_i128..100_000_000_000, 0_i128..1_000_000_000_000_000_000_000_000]
        .prop_map(|nanos| Quantity::from_nanos(nanos).unwrap())
}

fn tiers() -> impl Strategy<Value = Vec<Tier>> {
    let bounds = proptest::collection::btree_set(1_i128..100_000_000_000, 0..6);
    (bounds, proptest::collection::vec((amounts(), amounts()), 7)).prop_map(|(bounds, amounts)| {
        let ends = bounds.into_iter().map(Quantity::from_nanos).chain([None]);
        let tier = |(up_to, (unit_amount, flat_amount))| Tier { up_to, unit_amount, flat_amount };
        ends.zip(amounts).map(tier).collect()
    })
}

fn models() -> impl Strategy<Value = PriceModel> {
    prop_oneof![
        amounts().prop_map(|unit_amount| PriceModel::PerUnit { unit_amount }),
        tiers().prop_map(|tiers| PriceModel::Graduated { tiers }),
        tiers().prop_map(|tiers| PriceModel::Volume { tiers }),
        (1_i128..1_000_000_000_000, amounts()).prop_map(|(nanos, package_amount)| PriceModel::Package {
            package_size: Quantity::from_nanos(nanos).unwrap(),
            package_amount,
        }),
    ]
}

/// Exact amounts as integers of 10^-21, which fit here.
fn units(amount: ExactAmount) -> i128 {
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{fraction:0<21}").parse().unwrap()
}

fn sum_of_parts(rated: &Rated) -> ExactAmount {
    rated.tiers.iter().fold(ExactAmount::ZERO, |sum, part| sum.checked_add(part.amount).unwrap())
}

proptest! {
    #[test]
    fn graduated_rises_with_usage_and_is_the_sum_of_its_parts(tiers in tiers(), a in quantities(), b in quantities()) {
        let model = PriceModel::Graduated { tiers };
        let (low, high) = (rate(&model, a.min(b)).unwrap(), rate(&model, a.max(b)).unwrap());
        prop_assert!(low.amount <= high.amount);
        prop_assert_eq!(sum_of_parts(&high), high.amount);
        let quantities = high.tiers.iter().try_fold(Quantity::ZERO, |sum, part| sum.checked_add(part.quantity));
        prop_assert_eq!(quantities, Some(a.max(b)));
    }

    #[test]
    fn volume_is_the_whole_quantity_at_the_tier_that_holds_it(tiers in tiers(), usage in quantities()) {
        let rated = rate(&PriceModel::Volume { tiers: tiers.clone() }, usage).unwrap();
        prop_assume!(usage > Quantity::ZERO);
        let chosen = tiers.iter().find(|tier| tier.up_to.is_none_or(|up_to| usage <= up_to)).unwrap();
        let units = ExactAmount::product(usage, chosen.unit_amount).unwrap();
        prop_assert_eq!(rated.amount, units.checked_add(chosen.flat_amount.into()).unwrap());
        prop_assert_eq!(sum_of_parts(&rated), rated.amount);
        prop_assert_eq!(rated.tiers.len(), 1);
    }

    #[test]
    fn packages_hold_the_usage_and_no_whole_one_is_empty(size in 1_i128..1_000_000_000_000, usage in quantities()) {
        let size = Quantity::from_nanos(size).unwrap();
        let model = PriceModel::Package { package_size: size, package_amount: PriceAmount::parse("1").unwrap() };
        let packages = rate(&model, usage).unwrap().packages.unwrap().nanos() / 1_000_000_000;
        prop_assert!(packages * size.nanos() >= usage.nanos());
        prop_assert!((packages - 1) * size.nanos() < usage.nanos() || packages == 0);
    }

    #[test]
    fn one_tier_is_a_price_by_unit(unit_amount in amounts(), usage in quantities()) {
        let by_unit = rate(&PriceModel::PerUnit { unit_amount }, usage).unwrap().amount;
        let tier = Tier { up_to: None, unit_amount, flat_amount: PriceAmount::ZERO };
        for model in [PriceModel::Graduated { tiers: vec![tier.clone()] }, PriceModel::Volume { tiers: vec![tier] }] {
            prop_assert_eq!(rate(&model, usage).unwrap().amount, by_unit);
        }
    }

    #[test]
    fn no_usage_costs_nothing(model in models()) {
        prop_assert_eq!(rate(&model, Quantity::ZERO).unwrap().amount, ExactAmount::ZERO);
    }

    #[test]
    fn exact_amounts_are_read_back_and_rounded_half_away_from_zero(model in models(), usage in 0_i128..1_000_000_000_000, code in prop_oneof![Just("EUR"), Just("JPY"), Just("KWD")]) {
        let usage = Quantity::from_nanos(usage).unwrap();
        let amount = rate(&model, usage).unwrap().amount;
        prop_assert_eq!(ExactAmount::parse(&amount.to_string()), Ok(amount));
        let currency = Currency::new(code).unwrap();
        // Written another way: half a step more, then cut off. Only amounts that an i128 holds.
        prop_assume!(amount.to_string().split('.').next().unwrap().len() <= 16);
        let step = 10_i128.pow(21 - currency.exponent());
        let expected = (units(amount) + step / 2) / step;
        let rounded = amount.rounded(currency).unwrap();
        prop_assert_eq!(rounded.amount.mantissa(), expected);
        prop_assert_eq!(rounded.amount.scale(), currency.exponent());
    }

    #[test]
    fn credits_mirror_charges_by_unit(unit_amount in amounts(), usage in quantities()) {
        let model = PriceModel::PerUnit { unit_amount };
        let minus = Quantity::from_nanos(-usage.nanos()).unwrap();
        let sum = rate(&model, usage).unwrap().amount.checked_add(rate(&model, minus).unwrap().amount);
        prop_assert_eq!(sum, Ok(ExactAmount::ZERO));
    }
}
