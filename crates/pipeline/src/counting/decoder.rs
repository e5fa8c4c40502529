//! Records into what the shard applies. Schemas that are not known are fetched from the
//! registry first, where one is configured; without one a record is read or rejected.

use std::sync::{Mutex, PoisonError};

use weir_backends::StoreError;
use weir_backends::journal::{OwnedRecord, SchemaRegistry};
use weir_metering::record::JournalRecord;
use weir_wire::avro::{SchemaId, SchemaSet};
use weir_wire::usage_record::{RawRecord, decode_record, needed_schema};

#[derive(Debug)]
pub(crate) struct Decoder {
    schemas: Mutex<SchemaSet>,
    registry: Option<SchemaRegistry>,
    bytes_max: usize,
}

impl Decoder {
    pub(crate) fn new(registry_url: Option<&str>, bytes_max: usize) -> Self {
        let registry = registry_url.map(SchemaRegistry::new);
        let schemas = if registry.is_some() { SchemaSet::empty() } else { SchemaSet::shipped() };
        Self { schemas: Mutex::new(schemas), registry, bytes_max }
    }

    /// The schemas that are enough for these records, as far as the registry has them.
    pub(crate) async fn schemas_for(&self, records: &[OwnedRecord]) -> Result<SchemaSet, StoreError> {
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(registry) = &self.registry else { return Ok(schemas) };
        let mut asked = std::collections::HashSet::new();
        for record in records {
            let needed = with_raw(record, |raw| needed_schema(&schemas, raw));
            let Some(SchemaId::Number(id)) = needed.filter(|id| asked.insert(*id)) else { continue };
            let Some(json) = registry.schema(id).await? else { continue };
            match schemas.insert(id, &json) {
                // The set forgets no schema, so the last writer's is as good as any.
                Ok(()) => *self.schemas.lock().unwrap_or_else(PoisonError::into_inner) = schemas.clone(),
                Err(error) => tracing::warn!(id, %error, "a schema of the registry cannot be used"),
            }
        }
        Ok(schemas)
    }

    /// Reads a record.
    pub(crate) fn decode(&self, schemas: &SchemaSet, record: &OwnedRecord) -> JournalRecord {
        with_raw(record, |raw| decode_record(schemas, raw, self.bytes_max))
    }
}

fn with_raw<T>(record: &OwnedRecord, read: impl FnOnce(&RawRecord<'_>) -> T) -> T {
    let headers: Vec<(&str, &[u8])> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    read(&RawRecord {
        key: record.key.as_deref(),
        payload: record.payload.as_deref(),
        headers: &headers,
        offset: record.offset,
        broker_time_ms: record.broker_time_ms,
    })
}
