//! A batch of CloudEvents: a JSON array, each event judged by itself.

use serde::de::IgnoredAny;
use weir_wire::cloudevents::{BATCH_EVENTS_MAX, decode_batch, decode_structured, encode_structured};

use crate::Seeds;
use crate::events::{self, samples};
use crate::memory::{bound, within};

/// Reads the input as a body.
pub fn check(input: &[u8]) {
    // Up to 10,000 events of two bytes each become as many problems in words.
    let Ok(batch) = within(bound(64 << 10, 512, input), || decode_batch(input)) else {
        let text = std::str::from_utf8(input).unwrap_or_default();
        let items = serde_json::from_str::<Vec<IgnoredAny>>(text).map_or(0, |items| items.len());
        assert!(items == 0 || items > BATCH_EVENTS_MAX, "a batch of {items} is taken apart");
        return;
    };
    let items: Vec<IgnoredAny> = serde_json::from_slice(input).expect("what was decoded is an array");
    assert_eq!(items.len(), batch.len());
    let mut again = Vec::new();
    for (at, event) in batch.iter().enumerate() {
        match event {
            Ok(event) => {
                events::check(event);
                again.push(encode_structured(event));
            }
            Err(problem) => assert_eq!(problem.index, Some(at)),
        }
    }
    let body = [&b"["[..], &again.join(&b','), b"]"].concat();
    let good = batch.into_iter().flatten();
    let again = decode_batch(&body).expect("what was decoded is a batch again");
    assert!(good.map(Ok).eq(again), "the same events");
}

/// Batches of good and bad events.
pub fn seeds() -> Seeds {
    let all: Vec<_> = samples().iter().map(|(_, event)| encode_structured(event)).collect();
    let mixed = [&all[0][..], b"7", b"{}", &all[1], br#"{"specversion":"0.3"}"#, b"null"].join(&b',');
    let texts = [("all", all.join(&b',')), ("mixed", mixed), ("empty", Vec::new())];
    let mut seeds: Seeds =
        texts.map(|(name, inner)| (name.to_owned(), [&b"["[..], &inner, b"]"].concat())).into();
    seeds.push(("one".to_owned(), all[0].clone()));
    assert!(decode_structured(&all[0]).is_ok());
    seeds
}
