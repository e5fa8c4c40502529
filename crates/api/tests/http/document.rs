//! The committed OpenAPI document is the generated one; with UPDATE=1 it is written anew.

use std::path::Path;

use crate::support::in_house;

#[test]
fn the_committed_document_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/openapi.json");
    let generated = format!("{}\n", weir_api::openapi().to_pretty_json().unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "schemas/openapi.json is old: run `UPDATE=1 cargo test -p weir-api document`"
    );
}

#[test]
fn it_is_served_with_a_page_that_loads_nothing_from_outside() {
    in_house(|house| async move {
        let served = house.get("/api/v1/openapi.json").await.expect(200);
        assert!(served.body["paths"]["/api/v1/events"]["post"].is_object());
        let page = house.get("/docs/").await.expect(200);
        let page = page.body.as_str().unwrap();
        assert!(
            page.contains("swagger-ui") && !page.contains("http://") && !page.contains("https://"),
            "{page}"
        );
        let meters = house.get("/api/v1/meters").await.expect(200);
        assert_eq!(meters.body["items"][0]["key"], "api_calls");
        let plans = house.get("/api/v1/plans").await.expect(200);
        assert!(plans.body["items"].as_array().unwrap().len() >= 4);
        for path in ["/api/v1/invoices", "/api/v1/alerts"] {
            assert!(house.get(path).await.expect(200).body["items"].is_array());
        }
    });
}
