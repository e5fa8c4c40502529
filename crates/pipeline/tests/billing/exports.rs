//! Exports: the same text every time, exact decimals, no formulas.

use weir_backends::books::{self, Selection};
use weir_core::TenantId;
use weir_pipeline::billing::export::{self, Format};

use crate::books::Books;

const LINES: &str = "invoice_number,line_no,meter,kind,description,service_period_start,service_period_end,\
quantity,unit,event_count,amount_excl_tax,currency,plan,price_version,unrounded_amount
MILL-000003,1,,flat_fee,\"'=Pro, monthly\",2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,1,period,0,10.00,EUR,pro,1,10
MILL-000003,2,calls,usage,Calls,2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,3,calls,3,0.03,EUR,pro,1,0.03
MILL-000003,3,bytes,usage,Bytes,2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,160.500000001,bytes,3,13.03,EUR,pro,1,13.02500000005
MILL-000003,4,users,usage,users,2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,2,users,3,2.00,EUR,pro,1,2
MILL-000003,5,level,usage,level,2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,12.5,GB,2,6.25,EUR,pro,1,6.25
MILL-000003,6,peak,usage,peak,2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,40,GB,2,12.00,EUR,pro,1,12
";

/// Leaves out the columns that hold hashes.
fn without_hashes(csv: &str, hashes: &[usize]) -> String {
    let row = |row: &str| {
        let row = row.replace("\"'=Pro, monthly\"", "\"'=Pro; monthly\"");
        let cells = row.split(',').enumerate().filter(|(at, _)| !hashes.contains(at));
        cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",").replace(';', ",") + "\n"
    };
    csv.split_terminator("\r\n").map(row).collect()
}

#[tokio::test]
async fn documents_and_lines_are_exported_exactly() {
    let mut test = Books::open("exports").await;
    test.october().await;
    test.run().await.unwrap();
    let acme = Selection { tenant: Some(TenantId::new("acme").unwrap()), ..Selection::default() };
    let rows = books::documents(&test.pool, &acme).await.unwrap();
    let mut csv = Vec::new();
    export::lines(&rows, Format::Csv, &mut csv).unwrap();
    assert_eq!(without_hashes(&String::from_utf8(csv).unwrap(), &[14, 16]), LINES);

    let mut json = Vec::new();
    export::invoices(&rows, Format::Json, &mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let invoice = &json[0];
    assert_eq!(invoice["invoice_number"], "MILL-000003");
    assert_eq!(invoice["total"], "43.31");
    assert_eq!(invoice["issue_date"], "2026-11-02");
    assert!(invoice["original_invoice_number"].is_null());

    let mut json = Vec::new();
    export::lines(&rows, Format::Json, &mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json[1]["line_no"], &json[1]["event_count"]), (&2.into(), &3.into()));
    assert_eq!((&json[1]["quantity"], &json[1]["amount_excl_tax"]), (&"3".into(), &"0.03".into()));
}
