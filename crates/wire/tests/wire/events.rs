//! Usage events for the tests: one to read, and any.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_core::Timestamp;
use weir_metering::event::UsageEvent;

/// The event that most tests are about.
pub(crate) fn sample() -> UsageEvent {
    UsageEvent {
        tenant: "acme".to_owned(),
        source: "//gateway.eu".to_owned(),
        id: "e-1".to_owned(),
        event_type: "api.request".to_owned(),
        time: Some(Timestamp::parse("2026-11-24T08:00:00.123Z").unwrap()),
        data: vec![("bytes".to_owned(), "0.25".to_owned()), ("region".to_owned(), "eu".to_owned())],
    }
}

prop_compose! {
    /// Events that any format can carry.
    pub(crate) fn any_event()(
        texts in prop::array::uniform4("\\PC{1,20}"),
        time in prop::option::of(0_i64..253_402_300_800_000),
        data in prop::collection::btree_map("\\PC{0,12}", "\\PC{0,20}", 0..8),
    ) -> UsageEvent {
        let [tenant, source, id, event_type] = texts;
        let data: BTreeMap<String, String> = data;
        let data = data.into_iter().collect();
        UsageEvent { tenant, source, id, event_type, time: time.map(Timestamp::clamped), data }
    }
}
