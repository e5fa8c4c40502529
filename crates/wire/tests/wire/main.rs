//! What the layouts promise, tried from outside: what is written comes back, what older
//! and newer writers wrote is read, and no bytes at all cause a panic.

mod adjustment;
mod archive_file;
mod avro;
mod batch_blob;
mod cloudevents;
mod events;
mod id_file;
mod schema_evolution;
mod usage_record;
