//! What the fuzzer holds every decoder of outside bytes to, target by target, and the seeds
//! that it begins with. Knows nothing of how inputs are found.

pub mod events;
pub mod memory;
pub mod pieces;
pub mod targets;

use targets::{
    archive_file, avro_event, avro_schema, batch_blob, catalogue, cloudevents, cloudevents_batch,
    cloudevents_binary, dead_letter, id_file, invoice_number, kafka_record, numbers, packed_body,
    quota_level,
};

/// A decoder with what must hold of it.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is run by.
    pub name: &'static str,
    /// Decodes any bytes; panics when something does not hold.
    pub check: fn(&[u8]),
    /// Inputs to begin with, by name: real examples, encoded.
    pub seeds: fn() -> Seeds,
}

/// Inputs by name.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// All targets.
pub const TARGETS: [Target; 15] = [
    Target { name: "avro_event", check: avro_event::check, seeds: avro_event::seeds },
    Target { name: "avro_schema", check: avro_schema::check, seeds: avro_schema::seeds },
    Target { name: "cloudevents", check: cloudevents::check, seeds: cloudevents::seeds },
    Target { name: "cloudevents_batch", check: cloudevents_batch::check, seeds: cloudevents_batch::seeds },
    Target { name: "cloudevents_binary", check: cloudevents_binary::check, seeds: cloudevents_binary::seeds },
    Target { name: "kafka_record", check: kafka_record::check, seeds: kafka_record::seeds },
    Target { name: "numbers", check: numbers::check, seeds: numbers::seeds },
    Target { name: "catalogue", check: catalogue::check, seeds: catalogue::seeds },
    Target { name: "dead_letter", check: dead_letter::check, seeds: dead_letter::seeds },
    Target { name: "archive_file", check: archive_file::check, seeds: archive_file::seeds },
    Target { name: "id_file", check: id_file::check, seeds: id_file::seeds },
    Target { name: "batch_blob", check: batch_blob::check, seeds: batch_blob::seeds },
    Target { name: "quota_level", check: quota_level::check, seeds: quota_level::seeds },
    Target { name: "invoice_number", check: invoice_number::check, seeds: invoice_number::seeds },
    Target { name: "packed_body", check: packed_body::check, seeds: packed_body::seeds },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every input that is kept still holds, and those that this version would write are kept.
    #[test]
    fn seeds_hold() {
        for target in TARGETS {
            let folder = format!("{}/seeds/{}", env!("CARGO_MANIFEST_DIR"), target.name);
            for (name, bytes) in (target.seeds)() {
                assert!(bytes.len() <= 8_192, "{}/{name} is small", target.name);
                (target.check)(&bytes);
            }
            let kept = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
            let mut names = BTreeSet::new();
            for entry in kept {
                let path = entry.expect("a seed").path();
                (target.check)(&std::fs::read(&path).expect("a seed"));
                names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
            let wanted = (target.seeds)().into_iter().map(|(name, _)| name);
            let missing: Vec<_> = wanted.filter(|name| !names.contains(name)).collect();
            assert!(missing.is_empty(), "{folder} lacks {missing:?}; `make fuzz-seeds` writes them");
        }
    }
}
