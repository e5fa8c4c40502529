//! CloudEvents in JSON: what each rule says about each input, and that digits survive.

use std::collections::HashMap;

use proptest::prelude::*;
use weir_metering::event::UsageEvent;
use weir_metering::outcome::RejectReason;
use weir_wire::cloudevents::{
    BATCH_EVENTS_MAX, EnvelopeProblem, EventProblem, decode_batch, decode_binary, decode_structured,
    encode_structured, http_attribute,
};

use crate::events::{any_event, sample};

const HEAD: &str =
    r#""specversion":"1.0","id":"e-1","source":"//gateway.eu","type":"api.request","subject":"acme""#;

fn with(more: &str) -> String {
    format!("{{{HEAD}{more}}}")
}

fn data_of(json: &str) -> Result<Vec<(String, String)>, EventProblem> {
    decode_structured(with(&format!(r#","data":{json}"#)).as_bytes()).map(|event| event.data)
}

/// data, the texts it becomes
const TEXTS: &str = r#"
    {"v": 0.30000000000000004}                        => v=0.30000000000000004
    {"v": 1234567890123456789012345678901234567890}   => v=1234567890123456789012345678901234567890
    {"v": 1e-07}                                      => v=1e-07
    {"v": 1E400}                                      => v=1E400
    {"v": -0.0}                                       => v=-0.0
    {"v": 100.10}                                     => v=100.10
    {"v": "12.5"}                                     => v=12.5
    {"v": "NaN"}                                      => v=NaN
    {"v": true, "a": false}                           => a=false v=true
    {"v": null}                                       =>
    {"v": {"b" : [1.50, "x y"], "a": null}}           => v={"b":[1.50,"x y"],"a":null}
    {"b": 1, "a": 2, "é": 3}                          => a=2 b=1 é=3
    {"\u0061": "\u00e9\n"}                            => a=é\n
    {}                                                =>
    null                                              =>
"#;

#[test]
fn values_become_texts_with_every_digit() {
    for row in TEXTS.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (json, expected) = row.split_once("=>").unwrap();
        let found: Vec<_> =
            data_of(json.trim()).unwrap().into_iter().map(|(name, text)| format!("{name}={text}")).collect();
        assert_eq!(found.join(" ").replace('\n', "\\n"), expected.trim(), "{row}");
    }
}

/// what follows the required attributes, the reason's code, words that the detail holds
const REFUSED: &str = r#"
    ,"data":[1]                              | invalid_event | data must be a JSON object
    ,"data":"12"                             | invalid_event | data must be a JSON object
    ,"data":{"a":1,"a":1}                    | invalid_event | data names "a" twice
    ,"data":{"a":1,"\u0061":null}            | invalid_event | data names "a" twice
    ,"data":{"a":NaN}                        | malformed     | expected value
    ,"data":{"a":"\ud800"}                   | malformed     | not valid Unicode
    ,"data_base64":"e30="                    | invalid_event | data_base64 is taken only with datacontenttype application/json
    ,"datacontenttype":"application/json","data_base64":"?"     | invalid_event | not Base64
    ,"datacontenttype":"application/json","data_base64":"AAAA"  | malformed     | data must be a JSON object
    ,"data":{},"data_base64":"e30="          | invalid_event | both given
    ,"time":"yesterday"                      | invalid_event | time: "yesterday" is not an RFC 3339 time
    ,"time":1700000000                       | invalid_event | time must be a JSON string
    ,"time":"1969-12-31T23:59:59Z"           | invalid_event | between the years 1970 and 9999
    ,"id":"e-2"                              | invalid_event | id is given twice
    ,"data":{                                | malformed     | EOF
"#;

#[test]
fn what_breaks_a_rule_is_refused_in_words() {
    for row in REFUSED.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let cells: Vec<_> = row.split(" | ").map(str::trim).collect();
        let problem = decode_structured(with(cells[0]).as_bytes()).unwrap_err();
        assert_eq!(problem.code(), cells[1], "{row}: {problem}");
        assert!(problem.detail.contains(cells[2]), "{row}: {problem}");
        assert_eq!(problem.index, None);
    }
}

#[test]
fn each_required_attribute_is_asked_for_by_name() {
    for name in ["specversion", "id", "source", "type", "subject"] {
        for (value, word) in [("\"\"", ""), ("null", "missing"), ("7", "must be a JSON string")] {
            let members = HEAD.split(',').filter(|member| !member.starts_with(&format!("\"{name}\"")));
            let json = format!("{{{},\"{name}\":{value}}}", members.collect::<Vec<_>>().join(","));
            let problem = decode_structured(json.as_bytes()).unwrap_err();
            assert_eq!(problem.reason, RejectReason::InvalidEvent);
            assert!(problem.detail.starts_with(name) && problem.detail.contains(word), "{json}: {problem}");
        }
    }
}

#[test]
fn other_versions_of_cloudevents_are_refused() {
    let problem = decode_structured(with("").replace("1.0", "0.3").as_bytes()).unwrap_err();
    assert!(problem.detail.contains("send specversion \"1.0\""), "{problem}");
}

/// As the openmeter clients send it: unset attributes are null.
#[test]
fn extensions_and_null_attributes_are_accepted_and_ignored() {
    let more = r#","datacontenttype":null,"dataschema":null,"time":null,"partitionkey":"x","partitionkey":1,
        "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":{"bytes":"0.25","region":"eu"}"#;
    assert_eq!(decode_structured(with(more).as_bytes()), Ok(UsageEvent { time: None, ..sample() }));
}

#[test]
fn base64_of_json_is_read() {
    let more = r#","datacontenttype":"application/json; charset=utf-8","data_base64":"eyJieXRlcyI6IDAuMjV9""#;
    assert_eq!(
        decode_structured(with(more).as_bytes()).unwrap().data,
        [("bytes".to_owned(), "0.25".to_owned())]
    );
}

#[test]
fn size_and_depth_are_bounded() {
    let entries: Vec<_> = (0..65).map(|at| format!("\"k{at}\":{at}")).collect();
    assert!(data_of(&format!("{{{}}}", entries[..64].join(","))).is_ok());
    assert!(
        data_of(&format!("{{{}}}", entries.join(","))).unwrap_err().detail.contains("more than 64 entries")
    );
    let deep = format!("{{\"v\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(data_of(&deep).unwrap_err().detail.contains("nests deeper"));
    let wide: String = (0..600).map(|at| format!(",\"x{at}\":1")).collect();
    assert!(decode_structured(with(&wide).as_bytes()).unwrap_err().detail.contains("more than 512 members"));
}

#[test]
fn one_bad_event_in_a_batch_is_named_by_index_and_its_neighbours_are_read() {
    let good = with("");
    let bad = r#"{"specversion":"1.0","id":"e-2"}"#;
    let found = decode_batch(format!("[{good}, {bad},7,{good}]").as_bytes()).unwrap();
    assert!(found[0].is_ok() && found[3].is_ok());
    let [first, second] = [1, 2].map(|at| found[at].clone().unwrap_err());
    assert_eq!((first.index, first.id.as_deref(), first.code()), (Some(1), Some("e-2"), "invalid_event"));
    assert_eq!((second.index, second.id, second.reason), (Some(2), None, RejectReason::Malformed));
}

#[test]
fn a_batch_that_is_no_array_is_refused_whole() {
    for bytes in [&b"{}"[..], b"", b"[{}", b"\"x\"", b"[1,]", b"\xff"] {
        assert!(matches!(decode_batch(bytes), Err(EnvelopeProblem::NotAnArray(_))));
    }
    assert_eq!(decode_batch(b"[]"), Ok(vec![]));
    let many = format!("[{}0]", "0,".repeat(BATCH_EVENTS_MAX));
    assert_eq!(decode_batch(many.as_bytes()), Err(EnvelopeProblem::TooManyEvents { max: BATCH_EVENTS_MAX }));
}

fn binary(
    changes: &[(&str, Option<&str>)],
    content_type: Option<&str>,
    body: &str,
) -> Result<UsageEvent, EventProblem> {
    let mut attributes = HashMap::from([
        ("specversion", "1.0"),
        ("id", "e-1"),
        ("source", "//gateway.eu"),
        ("type", "api.request"),
        ("subject", "acme"),
        ("time", "2026-11-24T09:00:00.123+01:00"),
    ]);
    for (name, value) in changes {
        match value {
            Some(value) => attributes.insert(name, value),
            None => attributes.remove(name),
        };
    }
    decode_binary(|name| attributes.get(name).copied(), content_type, body.as_bytes())
}

#[test]
fn binary_events_are_read() {
    let body = r#"{"region":"eu","bytes":0.25}"#;
    for content_type in [Some("application/json"), Some("Application/JSON; charset=utf-8"), None] {
        assert_eq!(binary(&[], content_type, body), Ok(sample()));
    }
    assert_eq!(binary(&[], None, "").unwrap().data, []);
}

#[test]
fn binary_events_that_break_a_rule_are_refused() {
    let json = Some("application/json");
    let check = |result: Result<UsageEvent, EventProblem>, code: &str, words: &str| {
        let problem = result.unwrap_err();
        assert!(problem.code() == code && problem.detail.contains(words), "{problem:?}");
    };
    check(binary(&[("subject", None)], json, ""), "invalid_event", "subject is missing");
    check(binary(&[("id", Some(""))], json, ""), "invalid_event", "id is empty");
    check(binary(&[], Some("text/plain"), "12"), "invalid_event", "content type \"text/plain\"");
    check(binary(&[], json, "[]"), "invalid_event", "data must be a JSON object");
    check(binary(&[], json, "{\"a\":1} x"), "malformed", "trailing characters");
}

#[test]
fn http_attributes_are_decoded() {
    let check = |value: &str, expected: Option<&str>| assert_eq!(http_attribute(value).as_deref(), expected);
    check("plain", Some("plain"));
    check("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀"));
    check("\"quoted\"", Some("quoted"));
    check(r#""a \"b\" \\ %41\%42""#, Some(r#"a "b" \ AB"#));
    check(r#""\""#, Some("\\"));
    check("\"", Some("\""));
    check("100%", Some("100%"));
    check("%zz%4", Some("%zz%4"));
    check("%ff", None);
}

proptest! {
    #[test]
    fn events_come_back(event in any_event()) {
        prop_assert_eq!(decode_structured(&encode_structured(&event)), Ok(event));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = decode_structured(&bytes);
        let _ = decode_batch(&bytes);
        let _ = decode_binary(|_| Some("1.0"), None, &bytes);
    }

    #[test]
    fn numbers_keep_their_text(number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?") {
        let data = data_of(&format!(r#"{{"v":{number}}}"#)).unwrap();
        prop_assert_eq!(&data[0].1, &number);
    }
}
