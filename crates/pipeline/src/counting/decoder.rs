//! Records into what the shard applies. Schemas that are not known are asked of the
//! registry first, where one is configured; without one a record is read or rejected.
//!
//! A record is rejected for its schema only when the registry has said that there is none,
//! or that it is none of ours. As long as the registry does not say, counting waits.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_backends::StoreError;
use weir_backends::journal::registry::RegistryAnswer;
use weir_backends::journal::{OwnedRecord, SchemaRegistry};
use weir_core::Partition;
use weir_metering::record::{Batch, JournalRecord};
use weir_wire::avro::{SchemaId, SchemaSet, UnusableSchema};
use weir_wire::usage_record::{RawRecord, decode_into, decode_record, needed_schema};

use super::retry::delays;
use super::shared::Shared;
use crate::error::PipelineError;
use crate::status::PartitionState;
use crate::world::{Runtime, World};

/// How long the registry is believed that it has no such schema.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// The most ids that are remembered as missing.
const MISSING_MAX: usize = 100_000;
/// Questions that the registry gets at once.
const ASKED_AT_ONCE: usize = 8;

#[derive(Debug)]
pub(crate) struct Decoder {
    known: Mutex<Known>,
    registry: Option<SchemaRegistry>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Known {
    schemas: SchemaSet,
    /// Until when ids count as missing.
    missing: HashMap<SchemaId, Instant>,
}

impl Decoder {
    pub(crate) fn new(registry_url: Option<&str>, bytes_max: usize) -> Self {
        let registry = registry_url.map(SchemaRegistry::new);
        let schemas = if registry.is_some() { SchemaSet::of_registry() } else { SchemaSet::shipped() };
        Self { known: Mutex::new(Known { schemas, missing: HashMap::new() }), registry, bytes_max }
    }

    /// The schemas that are enough for these records, as far as the registry has them.
    /// When it does not answer, what it answered before is kept.
    pub(crate) async fn schemas_for(&self, records: &[OwnedRecord]) -> Result<SchemaSet, StoreError> {
        let schemas = self.known().schemas.clone();
        let Some(registry) = &self.registry else { return Ok(schemas) };
        let needed = |record| with_raw(record, |raw| needed_schema(&schemas, raw, self.bytes_max));
        let mut unknown: HashSet<SchemaId> = records.iter().filter_map(needed).collect();
        let now = Instant::now();
        unknown.retain(|id| self.known().missing.get(id).is_none_or(|until| *until <= now));
        if unknown.is_empty() {
            return Ok(schemas);
        }
        let ask = |id| async move { (id, registry.schema(id).await) };
        let mut answers = futures::stream::iter(unknown).map(ask).buffer_unordered(ASKED_AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            self.known().learn(id, answer?)?;
        }
        Ok(self.known().schemas.clone())
    }

    /// Waits until the registry has said what these records need; the partition's status
    /// says so meanwhile. False when the partition was taken away.
    pub(crate) async fn learn_patiently<W: World>(
        &self,
        shared: &Shared<W>,
        partition: Partition,
        records: &[OwnedRecord],
        cancelled: &CancellationToken,
    ) -> Result<bool, PipelineError> {
        let mut waits = delays(&shared.runtime);
        loop {
            let asked = tokio::select! {
                biased;
                () = cancelled.cancelled() => return Ok(false),
                asked = self.schemas_for(records) => asked,
            };
            let error = match asked {
                Ok(_) => return Ok(true),
                Err(error) if !error.is_transient() => return Err(error.into()),
                Err(error) => error,
            };
            if shared.status.state(partition, PartitionState::Waiting(error.to_string())) {
                tracing::warn!(partition, %error, "counting waits");
            }
            tokio::select! {
                biased;
                () = cancelled.cancelled() => return Ok(false),
                () = shared.runtime.sleep(waits.next().unwrap_or_default()) => {}
            }
        }
    }

    /// Reads a record.
    pub(crate) fn decode(&self, schemas: &SchemaSet, record: &OwnedRecord) -> JournalRecord {
        with_raw(record, |raw| decode_record(schemas, raw, self.bytes_max))
    }

    /// Reads a record into a batch.
    pub(crate) fn decode_into(&self, schemas: &SchemaSet, record: &OwnedRecord, batch: &mut Batch) {
        with_raw(record, |raw| decode_into(schemas, raw, self.bytes_max, batch));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn learn(&mut self, id: SchemaId, answer: RegistryAnswer) -> Result<(), StoreError> {
        let learned = match answer {
            RegistryAnswer::Avro(json) => self.schemas.insert(id, &json),
            RegistryAnswer::Unsupported(reason) => self.schemas.refuse(id, &reason),
            RegistryAnswer::NotFound => {
                self.miss(id);
                Ok(())
            }
        };
        match learned {
            Ok(()) => Ok(()),
            // Nothing may be rejected because of what others have registered.
            Err(error @ UnusableSchema::TooMany { .. }) => Err(StoreError::Transient {
                attempt: "keep another schema of the schema registry",
                reason: error.to_string(),
            }),
            Err(error) => {
                tracing::warn!(%id, %error, "a schema of the registry cannot be used");
                Ok(())
            }
        }
    }

    fn miss(&mut self, id: SchemaId) {
        let now = Instant::now();
        if self.missing.len() >= MISSING_MAX {
            self.missing.retain(|_, until| *until > now);
        }
        if self.missing.len() < MISSING_MAX {
            self.missing.insert(id, now + MISSING_FOR);
        }
    }
}

/// An empty batch that begins at `from`, with room for what these records hold.
pub(crate) fn room_for(partition: Partition, from: i64, records: &[OwnedRecord]) -> Batch {
    let mut batch = Batch::new(partition, from);
    let bytes = records.iter().map(|record| record.payload.as_ref().map_or(0, |value| value.len()));
    batch.reserve(records.len(), bytes.sum());
    batch
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
