//! Every byte layout that outlives a process: usage events as Avro and CloudEvents,
//! records of the journal, dead letters, what a batch row keeps, alerts, quota levels.
//! Pure: no IO, no clock, no async. Input from outside never makes it panic; bytes that
//! cannot be read become a reason and words.

pub mod adjustment;
pub mod alert;
pub mod archive_file;
pub mod avro;
pub mod batch_blob;
pub mod catalog_file;
pub mod cloudevents;
pub mod dead_letter;
pub mod id_file;
pub mod invoice_number;
pub mod packed_body;
pub mod problem;
pub mod quota_level;
pub mod replay;
pub mod usage_record;

mod avro_datum;
mod avro_frame;
mod avro_layout;
mod avro_schema_text;
mod avro_shipped;
mod delta_columns;
mod json_members;
mod varint;
