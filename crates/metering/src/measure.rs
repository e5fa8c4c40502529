//! What one meter makes of one event: a value and dimension values, or why it cannot
//! take the event. It does not choose the meter's version, and it counts nothing.

use weir_core::Quantity;
use weir_core::quantity::InvalidQuantity;

use crate::event::{EventRef, TEXT_BYTES_MAX};
use crate::meter::{Aggregation, Filter, FilterOperator, Meter, MeterKey, Precision};

/// The longest canonical text of an event's dimensions, in bytes. With tenant, meter and
/// hour it stays below the 2,704 bytes that a Postgres index entry may have.
pub const DIMENSIONS_TEXT_BYTES_MAX: usize = 2048;
/// The dimensions of a meter that has none.
pub const NO_DIMENSIONS: &str = "{}";
/// The dimensions of series past the bound.
pub const OTHER_DIMENSIONS: &str = "{\"other\":\"true\"}";

/// What a meter takes from an event.
#[derive(Clone, Debug)]
pub struct Measurement<'a> {
    /// The version of the meter that takes it.
    pub meter: &'a Meter,
    /// The value.
    pub value: MeasuredValue<'a>,
    event: EventRef<'a>,
    /// The meter's number in the catalogue.
    pub(crate) slot: usize,
}

/// The value that a meter takes from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasuredValue<'a> {
    /// The event itself (count).
    Event,
    /// A number (sum, max, min, latest).
    Quantity(Quantity),
    /// A text (unique).
    Text(&'a str),
}

/// Why a meter cannot take an event's values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// The value is not there.
    #[error("meter {meter} needs a value in data.{property}, and there is none")]
    Missing {
        /// Which meter.
        meter: MeterKey,
        /// Which member of `data`.
        property: String,
    },
    /// The value is no number that can be counted.
    #[error("meter {meter} cannot take data.{property}: {problem}")]
    Unreadable {
        /// Which meter.
        meter: MeterKey,
        /// Which member of `data`.
        property: String,
        /// What is wrong, and how to send it.
        problem: InvalidQuantity,
    },
    /// The value is below zero.
    #[error(
        "meter {meter} takes no value below zero in data.{property}; set allow_negative on the meter if it should"
    )]
    Negative {
        /// Which meter.
        meter: MeterKey,
        /// Which member of `data`.
        property: String,
    },
    /// A dimension's value is longer than the stores keep.
    #[error(
        "meter {meter} takes at most {TEXT_BYTES_MAX} bytes in the dimension data.{property}, and there are {bytes}"
    )]
    DimensionTooLong {
        /// Which meter.
        meter: MeterKey,
        /// Which member of `data`.
        property: String,
        /// Its length.
        bytes: usize,
    },
    /// All dimensions together are longer than the stores keep.
    #[error(
        "meter {meter} takes at most {DIMENSIONS_TEXT_BYTES_MAX} bytes in all its dimensions as JSON, and there are {bytes}"
    )]
    DimensionsTooLong {
        /// Which meter.
        meter: MeterKey,
        /// Their length as canonical JSON.
        bytes: usize,
    },
}

impl Measurement<'_> {
    /// The dimension values as [`crate::aggregate::UsageKey`] keeps them, before any bound on
    /// series: canonical JSON, names sorted, `""` for what is missing, `{}` for no dimensions.
    pub fn dimensions(&self) -> String {
        let mut text = String::new();
        self.write_dimensions(&mut text);
        text
    }

    /// [`Measurement::dimensions`] into a text that is used again and again.
    pub(crate) fn write_dimensions(&self, text: &mut String) {
        write_dimensions(self.meter, |name| self.event.value(name).unwrap_or(""), text);
    }
}

/// Dimension values that no event gave, as [`Measurement::dimensions`] writes them.
///
/// # Errors
/// When they are longer than the stores keep.
pub(crate) fn dimensions_of<'v>(
    meter: &Meter,
    value: impl Fn(&str) -> &'v str,
) -> Result<String, InvalidValue> {
    if let Some(name) = meter.dimensions.iter().find(|name| value(name).len() > TEXT_BYTES_MAX) {
        let (meter, bytes) = (meter.key.clone(), value(name).len());
        return Err(InvalidValue::DimensionTooLong { meter, property: name.clone(), bytes });
    }
    let mut text = String::new();
    write_dimensions(meter, value, &mut text);
    if text.len() > DIMENSIONS_TEXT_BYTES_MAX {
        return Err(InvalidValue::DimensionsTooLong { meter: meter.key.clone(), bytes: text.len() });
    }
    Ok(text)
}

fn write_dimensions<'v>(meter: &Meter, value: impl Fn(&str) -> &'v str, text: &mut String) {
    text.clear();
    if meter.dimensions.is_empty() {
        text.push_str(NO_DIMENSIONS);
        return;
    }
    text.push('{');
    for (at, name) in meter.dimensions.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_json(name, text);
        text.push(':');
        write_json(value(name), text);
    }
    text.push('}');
}

/// What `meter` takes from `event`; `None` when type or filters do not match.
pub(crate) fn measure<'a>(
    slot: usize,
    meter: &'a Meter,
    event: EventRef<'a>,
) -> Result<Option<Measurement<'a>>, InvalidValue> {
    if meter.event_type != event.event_type() || !meter.filters.iter().all(|filter| holds(filter, event)) {
        return Ok(None);
    }
    let measurement = Measurement { meter, value: value(meter, event)?, event, slot };
    check_dimensions(&measurement)?;
    Ok(Some(measurement))
}

fn holds(filter: &Filter, event: EventRef<'_>) -> bool {
    let among = event.value(&filter.property).is_some_and(|value| filter.values.iter().any(|v| v == value));
    match filter.operator {
        FilterOperator::In => among,
        FilterOperator::NotIn => !among,
    }
}

fn value<'a>(meter: &Meter, event: EventRef<'a>) -> Result<MeasuredValue<'a>, InvalidValue> {
    if meter.aggregation == Aggregation::Count {
        return Ok(MeasuredValue::Event);
    }
    let property = meter.value_property.as_deref().unwrap_or("");
    let named = || (meter.key.clone(), property.to_owned());
    let Some(text) = event.value(property) else {
        let (meter, property) = named();
        return Err(InvalidValue::Missing { meter, property });
    };
    if meter.aggregation == Aggregation::Unique {
        return Ok(MeasuredValue::Text(text));
    }
    let parsed = match meter.precision {
        Precision::Exact => Quantity::parse(text),
        Precision::Round => Quantity::parse_rounded(text),
    };
    let quantity = parsed.map_err(|problem| {
        let (meter, property) = named();
        InvalidValue::Unreadable { meter, property, problem }
    })?;
    if quantity.is_negative() && !meter.allow_negative {
        let (meter, property) = named();
        return Err(InvalidValue::Negative { meter, property });
    }
    Ok(MeasuredValue::Quantity(quantity))
}

fn check_dimensions(measurement: &Measurement<'_>) -> Result<(), InvalidValue> {
    let Measurement { meter, event, .. } = measurement;
    let mut bytes_bound = 2;
    for name in &meter.dimensions {
        let bytes = event.value(name).unwrap_or("").len();
        if bytes > TEXT_BYTES_MAX {
            let (meter, property) = (meter.key.clone(), name.clone());
            return Err(InvalidValue::DimensionTooLong { meter, property, bytes });
        }
        // A byte of a name or value takes at most six bytes of JSON.
        bytes_bound += 6 + 6 * (name.len() + bytes);
    }
    if bytes_bound > DIMENSIONS_TEXT_BYTES_MAX {
        let bytes = measurement.dimensions().len();
        if bytes > DIMENSIONS_TEXT_BYTES_MAX {
            return Err(InvalidValue::DimensionsTooLong { meter: meter.key.clone(), bytes });
        }
    }
    Ok(())
}

/// Appends a text as a JSON string: quotes, backslashes and control characters escaped,
/// everything else as it is.
fn write_json(text: &str, into: &mut String) {
    into.push('"');
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        into.push_str(text);
    } else {
        for character in text.chars() {
            match character {
                '"' | '\\' => into.extend(['\\', character]),
                '\0'..='\u{1f}' => into.push_str(&format!("\\u{:04x}", u32::from(character))),
                _ => into.push(character),
            }
        }
    }
    into.push('"');
}
