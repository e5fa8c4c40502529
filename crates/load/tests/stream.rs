//! The stream as others see it: readable by Avro's own library, the same whoever walks it, and
//! totals that a plain recount agrees with.

use std::collections::{BTreeMap, HashMap};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use weir_load::{Event, Kind, Profile, Stream, Totals, meter_key, tenant_id, write_avro, write_json};

const SCHEMA: &str = include_str!("../../../schemas/avro/usage_event.v2.avsc");

fn profile() -> Profile {
    Profile {
        events: 50_000,
        tenants: 300,
        skew: 1.0,
        meters: 4,
        dimensions: 3,
        duplicates_ppm: 20_000,
        late_ppm: 10_000,
        seed: 7,
        from_ms: 1_795_000_000_000,
        span_ms: 3_600_000,
    }
}

fn events(stream: &Stream) -> Vec<Event> {
    (0..stream.profile().events).map(|position| stream.event(position)).collect()
}

/// What Avro's library reads of an event: attributes, and data by name.
fn read(event: &Event) -> (BTreeMap<String, Value>, HashMap<String, String>) {
    let schema = Schema::parse_str(SCHEMA).unwrap();
    let mut bytes = Vec::new();
    write_avro(event, &mut bytes);
    assert_eq!(bytes[..5], [0, 0x80, 0, 0, 2]);
    let mut rest = &bytes[5..];
    let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} bytes are left over", rest.len());
    let Value::Record(fields) = value else { panic!("{value:?}") };
    let mut fields: BTreeMap<_, _> = fields.into_iter().collect();
    let Some(Value::Map(data)) = fields.remove("data") else { panic!("no data") };
    let text = |value: Value| if let Value::String(text) = value { text } else { panic!("{value:?}") };
    (fields, data.into_iter().map(|(name, value)| (name, text(value))).collect())
}

#[test]
fn avro_and_json_say_the_same() {
    let stream = Stream::new(profile()).unwrap();
    for event in events(&stream).into_iter().step_by(97) {
        let (fields, data) = read(&event);
        let mut json = Vec::new();
        write_json(&event, &mut json);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for name in ["id", "source", "type", "subject"] {
            assert_eq!(fields[name], Value::String(json[name].as_str().unwrap().to_owned()), "{event:?}");
        }
        assert_eq!(json["subject"], tenant_id(event.tenant));
        assert_eq!(json["type"], meter_key(event.meter));
        let expected = json["data"].as_object().unwrap();
        assert_eq!(data.len(), expected.len(), "{event:?}");
        assert!(expected.iter().all(|(name, value)| data[name] == value.as_str().unwrap()), "{event:?}");
    }
}

#[test]
fn totals_are_what_a_plain_recount_of_the_texts_finds() {
    let stream = Stream::new(profile()).unwrap();
    let mut totals = Totals::new(300, 4);
    let mut seen = std::collections::HashSet::new();
    let mut recount: BTreeMap<(u32, u32), (u64, f64)> = BTreeMap::new();
    let (mut repeats, mut late) = (0, 0);
    for event in events(&stream) {
        totals.add(&event);
        let is_late = event.time_ms < profile().from_ms - 86_400_000;
        late += i32::from(is_late);
        if !seen.insert(event.serial) {
            repeats += 1;
            continue;
        }
        if is_late {
            continue;
        }
        let (_, data) = read(&event);
        let entry = recount.entry((event.tenant, event.meter)).or_default();
        entry.0 += 1;
        entry.1 += if event.kind == Kind::Sum { data["quantity"].parse::<f64>().unwrap() } else { 1.0 };
    }
    assert!((900..1_100).contains(&repeats), "{repeats} repeats");
    assert!((400..600).contains(&late), "{late} late");
    assert_eq!(totals.active_tenants(), 300);
    assert_eq!(totals.iter().count(), recount.len());
    for (tenant, meter, found) in totals.iter() {
        let (events, quantity) = recount[&(tenant, meter)];
        assert_eq!(found.events, events);
        let (whole, rest) = (found.thousandths / 1_000, found.thousandths % 1_000);
        assert_eq!(format!("{quantity:.3}"), format!("{whole}.{rest:03}"));
    }
}

#[test]
fn a_file_of_totals_is_compared_line_by_line() {
    let stream = Stream::new(profile()).unwrap();
    let mut totals = Totals::new(300, 4);
    events(&stream).iter().for_each(|event| totals.add(event));
    let file = std::env::temp_dir().join(format!("weir-load-totals-{}", std::process::id()));
    totals.write(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(Totals::read(&file).unwrap(), totals);
    std::fs::remove_file(&file).unwrap();

    assert_eq!(totals.compare(text.lines()).unwrap(), []);
    let others = text.lines().chain(["acme\tapi_calls\t1.5\t3"]);
    assert_eq!(totals.compare(others).unwrap(), [], "tenants of others are left out");
    let missing: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(totals.compare(missing).unwrap().len(), 1);
    let doubled = text.replacen("load-0000000\tload_0\t", "load-0000000\tload_0\t1", 1);
    let differences = totals.compare(doubled.lines()).unwrap();
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].tenant, "load-0000000");
    assert!(totals.compare(["load-0000000\tload_0\tmany\t1"]).is_err());
}

#[test]
fn another_seed_gives_other_ids_and_the_same_one_the_same_stream() {
    let one = events(&Stream::new(profile()).unwrap());
    assert_eq!(one, events(&Stream::new(profile()).unwrap()));
    let other = events(&Stream::new(Profile { seed: 8, ..profile() }).unwrap());
    assert!(one.iter().zip(&other).all(|(one, other)| (one.seed, one.serial) != (other.seed, other.serial)));
}
