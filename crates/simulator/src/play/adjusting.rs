//! Adjustments as they are asked for: sealed, and on their way through the outbox.

use weir_backends::journal::OwnedRecord;
use weir_backends::outbox::OutboxKind;
use weir_core::{Position, Quantity, TenantId, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry, void_id};
use weir_metering::event::UsageEvent;
use weir_metering::meter::MeterKey;
use weir_metering::record::{JournalRecord, RecordBody};
use weir_wire::adjustment::encode;
use weir_wire::avro::SchemaSet;
use weir_wire::usage_record::{RECORD_BYTES_MAX, RawRecord, decode_record};

use super::director::Play;

fn read(record: &OwnedRecord) -> JournalRecord {
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let raw = RawRecord {
        key: record.key.as_deref(),
        payload: record.payload.as_deref(),
        headers: &headers,
        offset: record.offset,
        broker_time_ms: record.broker_time_ms,
    };
    decode_record(&SchemaSet::shipped(), &raw, RECORD_BYTES_MAX)
}

impl Play {
    /// Usage of a meter is adjusted.
    pub(super) fn adjust(&mut self, tenant: &str, id: &str, meter: &str, units: i64, ago_ms: i64) {
        let now_ms = self.stage.state().servers.broker_ms;
        let (Ok(tenant), Ok(meter)) = (TenantId::new(tenant), MeterKey::new(meter)) else { return };
        // An adjustment of nothing is never written.
        let units = if units == 0 { 1 } else { units };
        let entry = Entry {
            meter,
            dimensions: Vec::new(),
            at: Timestamp::clamped(now_ms - ago_ms),
            quantity: Quantity::from_units(units),
            event_count: units,
        };
        self.write_adjustment(tenant, id.to_owned(), Change::Entry(entry));
    }

    /// The event of a kind that can be taken out, counted back from the last, is taken out.
    pub(super) fn void(&mut self, back: u64) {
        let mut found: Vec<(Position, UsageEvent)> = Vec::new();
        let homes = self.stage.state().servers.ledger.homes();
        for partition in 0..homes.partitions() {
            let state = self.stage.state();
            let records = state.servers.journal.log(partition).records.iter();
            for record in records.map(|logged| &logged.record) {
                let JournalRecord { offset, broker_time, body: RecordBody::Event { event, .. } } =
                    read(record)
                else {
                    continue;
                };
                if event.event_type == "credit" && homes.of(&event.tenant) == partition {
                    let event = UsageEvent { time: Some(event.time_or(broker_time)), ..event };
                    found.push((Position { generation: 1, partition, offset }, event));
                }
            }
        }
        let Some(last) = found.len().checked_sub(1) else { return };
        let (position, event) = found.swap_remove(last - usize::try_from(back).unwrap_or(0) % (last + 1));
        let Ok(tenant) = TenantId::new(&event.tenant) else { return };
        self.write_adjustment(tenant, void_id(position), Change::Void { position, event });
    }

    /// `adjustments::ask`. Another adjustment under the same id is refused while the ledger knows the first.
    fn write_adjustment(&mut self, tenant: TenantId, id: String, change: Change) {
        let (who, why) = ("simulator".to_owned(), "chance".to_owned());
        let adjustment = Adjustment { id, tenant, who, why, change };
        let value = encode(&adjustment, adjustment.seal(&self.cast.key));
        let id = format!("adjustment/{}/{}", adjustment.tenant, adjustment.id);
        let tenant = adjustment.tenant.to_string();
        let servers = &mut self.stage.state().servers;
        servers.enqueue(id, OutboxKind::Adjustment, (&tenant, Some(tenant.clone())), value);
    }
}
