//! What makes a meter's definition a valid one, by itself and after an earlier version
//! (invariants 11 and 16). Asked before a definition is published, never while counting.

use crate::event::{DATA_VALUE_BYTES_MAX, TEXT_BYTES_MAX, has_control};
use crate::meter::{Aggregation, Filter, Meter, MeterKey};

/// The longest unit, in bytes: it stands on every invoice line.
pub const UNIT_BYTES_MAX: usize = 64;
/// The longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1024;
/// The most dimensions of a meter; each multiplies the series.
pub const DIMENSIONS_MAX: usize = 16;
/// The most filters of a meter; each is looked at for every event of its type.
pub const FILTERS_MAX: usize = 16;
/// The most values of a filter.
pub const FILTER_VALUES_MAX: usize = 256;
/// Names no dimension may have: series past the bound are counted under it.
pub const RESERVED_DIMENSION: &str = "other";

/// Why a meter's definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMeter {
    /// A field has a value that it may not have.
    #[error("meter {meter} version {version}: {field} {problem}")]
    Field {
        /// Which meter.
        meter: MeterKey,
        /// Which version of it.
        version: u32,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Meter {
    /// Whether the definition makes sense by itself.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn validate(&self) -> Result<(), InvalidMeter> {
        let refuse = |field, problem: Option<String>| match problem {
            Some(problem) => Err(self.refusal(field, problem)),
            None => Ok(()),
        };
        refuse("version", (self.version == 0).then(|| "begins at 1".to_owned()))?;
        let unversioned = self.version > 1 && self.begins_at.is_none();
        refuse("begins_at", unversioned.then(|| "is needed from version 2 on".to_owned()))?;
        refuse("description", text_problem(&self.description, 0, DESCRIPTION_BYTES_MAX))?;
        refuse("unit", text_problem(&self.unit, 1, UNIT_BYTES_MAX))?;
        refuse("event_type", text_problem(&self.event_type, 1, TEXT_BYTES_MAX))?;
        refuse("value_property", self.value_problem())?;
        refuse("dimensions", self.dimensions_problem())?;
        refuse("filters", self.filters_problem())?;
        let meaningless =
            self.allow_negative && matches!(self.aggregation, Aggregation::Count | Aggregation::Unique);
        refuse("allow_negative", meaningless.then(|| "has no meaning for count and unique".to_owned()))
    }

    fn refusal(&self, field: &'static str, problem: String) -> InvalidMeter {
        InvalidMeter::Field { meter: self.key.clone(), version: self.version, field, problem }
    }

    fn value_problem(&self) -> Option<String> {
        match (&self.value_property, self.aggregation) {
            (None, Aggregation::Count) => None,
            (Some(_), Aggregation::Count) => Some("must be left out for count".to_owned()),
            (None, _) => Some("is needed by every aggregation but count".to_owned()),
            (Some(name), _) => text_problem(name, 1, TEXT_BYTES_MAX),
        }
    }

    fn dimensions_problem(&self) -> Option<String> {
        if self.dimensions.len() > DIMENSIONS_MAX {
            return Some(format!("are {}, more than {DIMENSIONS_MAX}", self.dimensions.len()));
        }
        for (at, name) in self.dimensions.iter().enumerate() {
            if let Some(problem) = text_problem(name, 1, TEXT_BYTES_MAX) {
                return Some(format!("name {name:?}, which {problem}"));
            }
            if name == RESERVED_DIMENSION {
                return Some(format!("name {name:?}, which is kept for series past the bound"));
            }
            if self.dimensions[..at].contains(name) {
                return Some(format!("name {name:?} twice"));
            }
        }
        None
    }

    fn filters_problem(&self) -> Option<String> {
        if self.filters.len() > FILTERS_MAX {
            return Some(format!("are {}, more than {FILTERS_MAX}", self.filters.len()));
        }
        for Filter { property, values, .. } in &self.filters {
            if let Some(problem) = text_problem(property, 1, TEXT_BYTES_MAX) {
                return Some(format!("name the property {property:?}, which {problem}"));
            }
            if values.is_empty() || values.len() > FILTER_VALUES_MAX {
                return Some(format!("on {property:?} must have 1 to {FILTER_VALUES_MAX} values"));
            }
            if let Some(problem) = values.iter().find_map(|v| text_problem(v, 0, DATA_VALUE_BYTES_MAX)) {
                return Some(format!("on {property:?} have a value that {problem}"));
            }
        }
        None
    }
}

fn text_problem(text: &str, bytes_min: usize, bytes_max: usize) -> Option<String> {
    if !(bytes_min..=bytes_max).contains(&text.len()) {
        return Some(format!("has {} bytes, not {bytes_min} to {bytes_max}", text.len()));
    }
    has_control(text).then(|| "holds a control character".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{FilterOperator, Precision};

    fn meter(change: impl Fn(&mut Meter)) -> Meter {
        let mut meter = Meter {
            key: MeterKey::new("egress").unwrap(),
            version: 1,
            description: String::new(),
            unit: "GB".into(),
            event_type: "request".into(),
            aggregation: Aggregation::Sum,
            value_property: Some("bytes".into()),
            dimensions: vec!["region".into()],
            filters: vec![],
            precision: Precision::Exact,
            allow_negative: false,
            begins_at: None,
        };
        change(&mut meter);
        meter
    }

    fn check(change: impl Fn(&mut Meter), expected: &str) {
        let found = match meter(change).validate() {
            Ok(()) => "ok".to_owned(),
            Err(InvalidMeter::Field { field, problem, .. }) => format!("{field} {problem}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn rules_of_a_definition() {
        check(|_| {}, "ok");
        check(|m| m.version = 0, "version begins at 1");
        check(|m| m.version = 2, "begins_at is needed from version 2 on");
        check(|m| m.unit.clear(), "unit has 0 bytes, not 1 to 64");
        check(|m| m.event_type = "a\n".into(), "event_type holds a control character");
        check(|m| m.value_property = None, "value_property is needed by every aggregation but count");
        check(|m| m.aggregation = Aggregation::Count, "value_property must be left out for count");
        check(|m| m.dimensions.push("region".into()), "dimensions name \"region\" twice");
        check(
            |m| m.dimensions.push("other".into()),
            "dimensions name \"other\", which is kept for series past the bound",
        );
        check(
            |m| {
                let operator = FilterOperator::In;
                m.filters = vec![Filter { property: "kind".into(), operator, values: vec![] }];
            },
            "filters on \"kind\" must have 1 to 256 values",
        );
        check(
            |m| {
                m.aggregation = Aggregation::Unique;
                m.allow_negative = true;
            },
            "allow_negative has no meaning for count and unique",
        );
    }
}
