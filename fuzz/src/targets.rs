//! The targets, one file each: `check` decodes any bytes and holds what comes out to what must
//! be true, `seeds` are real examples.

pub mod archive_file;
pub mod avro_event;
pub mod avro_schema;
pub mod batch_blob;
pub mod catalogue;
pub mod cloudevents;
pub mod cloudevents_batch;
pub mod cloudevents_binary;
pub mod dead_letter;
pub mod id_file;
pub mod invoice_number;
pub mod kafka_record;
pub mod numbers;
pub mod packed_body;
pub mod quota_level;
