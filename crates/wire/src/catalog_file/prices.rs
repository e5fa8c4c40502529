//! A price as it stands in a catalogue file: one flat table, whose members must be those
//! of its model and no others.

use serde::Deserialize;
use toml::Spanned;
use weir_billing::{MeterName, PriceAmount, PriceModel, Tier};
use weir_core::Quantity;

use super::refusal::{Place, Reason, Refusal};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPrice {
    pub(super) meter: Spanned<MeterName>,
    #[serde(default)]
    pub(super) description: String,
    pub(super) included: Option<Quantity>,
    model: Option<Spanned<String>>,
    unit_amount: Option<Spanned<PriceAmount>>,
    tiers: Option<Spanned<Vec<Spanned<Tier>>>>,
    package_size: Option<Spanned<Quantity>>,
    package_amount: Option<Spanned<PriceAmount>>,
}

impl RawPrice {
    /// Where each tier stands.
    pub(super) fn tier_places(&self, text: &str) -> Vec<Place> {
        let tiers = self.tiers.iter().flat_map(Spanned::get_ref);
        tiers.map(|tier| Place::of(text, tier.span().start)).collect()
    }

    /// The price model, or what is missing or too much.
    pub(super) fn model(self, at: Place, text: &str) -> Result<PriceModel, Refusal> {
        let refuse = |place: Place, reason: Reason| Err(Refusal { place, reason });
        let Some(model) = self.model else {
            return refuse(at, Reason::NoPrice(self.meter.into_inner()));
        };
        let model_place = Place::of(text, model.span().start);
        let model = model.into_inner();
        let wanted: &[&str] = match model.as_str() {
            "per_unit" => &["unit_amount"],
            "graduated" | "volume" => &["tiers"],
            "package" => &["package_size", "package_amount"],
            _ => return refuse(model_place, Reason::UnknownModel(model.chars().take(32).collect())),
        };
        let given = [
            ("unit_amount", self.unit_amount.as_ref().map(|field| field.span().start)),
            ("tiers", self.tiers.as_ref().map(|field| field.span().start)),
            ("package_size", self.package_size.as_ref().map(|field| field.span().start)),
            ("package_amount", self.package_amount.as_ref().map(|field| field.span().start)),
        ];
        for (field, start) in given {
            match (wanted.contains(&field), start) {
                (true, None) => return refuse(model_place, Reason::FieldMissing { model, field }),
                (false, Some(start)) => {
                    return refuse(Place::of(text, start), Reason::FieldUnused { model, field });
                }
                _ => {}
            }
        }
        let tiers =
            || self.tiers.into_iter().flat_map(Spanned::into_inner).map(Spanned::into_inner).collect();
        Ok(match model.as_str() {
            "graduated" => PriceModel::Graduated { tiers: tiers() },
            "volume" => PriceModel::Volume { tiers: tiers() },
            "package" => PriceModel::Package {
                package_size: self.package_size.map(Spanned::into_inner).unwrap_or_default(),
                package_amount: self.package_amount.map(Spanned::into_inner).unwrap_or_default(),
            },
            _ => PriceModel::PerUnit {
                unit_amount: self.unit_amount.map(Spanned::into_inner).unwrap_or_default(),
            },
        })
    }
}
