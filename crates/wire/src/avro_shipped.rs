//! The shipped schemas' data, read where they stand: texts are borrowed, nothing is
//! allocated. Almost every event comes this way.
//!
//! It reads what is in order, and gives up on everything else, so that the general reader
//! says what is wrong, in its words. What both read is the same, by test.

use weir_core::Timestamp;
use weir_metering::event::{DATA_ENTRIES_MAX, EventBuffer};

use crate::avro_layout::TimeUnit;

/// A version of the schema that ships with Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shipped {
    /// Without `traceparent`.
    V1,
    /// With `traceparent` behind the data.
    V2,
}

/// Reads a datum into a buffer; false, and nothing is added, where anything about it is not
/// in order.
pub(crate) fn read_into(
    version: Shipped,
    time_unit: TimeUnit,
    datum: &[u8],
    events: &mut EventBuffer,
) -> bool {
    read(version, time_unit, datum, events).is_some()
}

fn read(version: Shipped, time_unit: TimeUnit, datum: &[u8], events: &mut EventBuffer) -> Option<()> {
    let mut rest = Rest(datum);
    let [id, source, event_type, tenant] = [rest.named()?, rest.named()?, rest.named()?, rest.named()?];
    let time = match rest.long()? {
        0 => None,
        1 => Some(Timestamp::from_millis(time_unit.to_millis(rest.long()?)).ok()?),
        _ => return None,
    };
    let mut members = [("", ""); DATA_ENTRIES_MAX];
    let data = rest.members(&mut members)?;
    if version == Shipped::V2 {
        match rest.long()? {
            0 => {}
            1 => drop(rest.text()?),
            _ => return None,
        }
    }
    if !rest.0.is_empty() {
        return None;
    }
    events.push_parts([tenant, source, id, event_type], time, data.iter().copied());
    Some(())
}

/// What is left of a datum.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// A zigzag number in the fewest bytes, up to nine of them.
    fn long(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0_u64, 0_u32);
        loop {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                let magnitude = (value >> 1).cast_signed();
                return Some(if value & 1 == 0 { magnitude } else { -magnitude - 1 });
            }
            shift += 7;
            if shift > 56 {
                return None;
            }
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.long()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// Blocks of members, sorted by name; a block that tells its length in bytes is not for here.
    fn members<'m>(
        &mut self,
        into: &'m mut [(&'a str, &'a str); DATA_ENTRIES_MAX],
    ) -> Option<&'m [(&'a str, &'a str)]> {
        let mut filled = 0;
        loop {
            let members = usize::try_from(self.long()?).ok()?;
            if members == 0 {
                break;
            }
            for _ in 0..members {
                *into.get_mut(filled)? = (self.text()?, self.text()?);
                filled += 1;
            }
        }
        let data = &mut into[..filled];
        if !data.is_sorted_by(|one, next| one.0 < next.0) {
            data.sort_unstable_by_key(|(name, _)| *name);
        }
        data.is_sorted_by(|one, next| one.0 < next.0).then_some(data)
    }

    /// A text that may not be empty.
    fn named(&mut self) -> Option<&'a str> {
        self.text().filter(|text| !text.is_empty())
    }
}
