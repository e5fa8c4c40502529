//! What a stream needs before it is sent, and the question after it: a catalogue with its meters,
//! its tenants made through the API, and Weir's own totals out of ClickHouse's view.

use futures::StreamExt;
use futures::stream;

use crate::error::LoadError;
use crate::http::{http, refused};
use crate::profile::{Kind, kind_of, meter_key, tenant_id};

/// The plan that the load's tenants have.
pub const PLAN: &str = "load";
/// The legal entity that bills them.
pub const LEGAL_ENTITY: &str = "load";

/// Weir's totals by tenant and meter, from the view that is right whatever was written twice.
const TOTALS: &str = "SELECT tenant, meter, toString(sum(quantity)), sum(event_count) FROM usage_hourly \
    WHERE startsWith(tenant, 'load-') GROUP BY tenant, meter FORMAT TabSeparated";

/// A catalogue for `weir catalog apply`: the meters, and a plan that prices each of them.
pub fn catalogue(meters: u32, dimensions: bool) -> String {
    let mut text = format!(
        "# The catalogue of `weir load`.\n\n[[legal_entity]]\nkey = \"{LEGAL_ENTITY}\"\nname = \"Load Inc.\"\n\
         address = [\"1 Weir Lane\", \"Springfield\"]\ncountry = \"US\"\nnumber_prefix = \"LOAD\"\n"
    );
    let dimensions = if dimensions { "dimensions = [\"region\"]\n" } else { "" };
    for meter in 0..meters {
        let key = meter_key(meter);
        let rule = match kind_of(meter) {
            Kind::Sum => "aggregation = \"sum\"\nvalue_property = \"quantity\"",
            Kind::Count => "aggregation = \"count\"",
        };
        text.push_str(&format!(
            "\n[[meter]]\nkey = \"{key}\"\nversion = 1\ndescription = \"Load, meter {meter}\"\nunit = \"units\"\n\
             event_type = \"{key}\"\n{rule}\n{dimensions}"
        ));
    }
    text.push_str(&format!(
        "\n[[plan]]\nkey = \"{PLAN}\"\nversion = 1\nname = \"Load\"\ncurrency = \"USD\"\nflat_fee = \"10.00\"\n"
    ));
    for meter in 0..meters {
        let key = meter_key(meter);
        text.push_str(&format!(
            "\n  [[plan.price]]\n  meter = \"{key}\"\n  description = \"Load, meter {meter}\"\n  \
             model = \"per_unit\"\n  unit_amount = \"0.0001\"\n"
        ));
    }
    text
}

/// Makes the tenants from `from` up to `until` through the API, 32 at a time; those that are
/// there already stay. `made` hears of each.
///
/// # Errors
/// [`LoadError::Http`], [`LoadError::Refused`].
pub async fn create_tenants(
    url: &str,
    key: &str,
    tenants: std::ops::Range<u32>,
    mut made: impl FnMut(),
) -> Result<(), LoadError> {
    let client = reqwest::Client::new();
    let mut answers =
        stream::iter(tenants).map(|tenant| create(&client, url, key, tenant)).buffer_unordered(32);
    while let Some(answer) = answers.next().await {
        answer?;
        made();
    }
    Ok(())
}

async fn create(client: &reqwest::Client, url: &str, key: &str, tenant: u32) -> Result<(), LoadError> {
    let id = tenant_id(tenant);
    let body = serde_json::json!({
        "id": id,
        "name": id,
        "domain": format!("{id}.example.com"),
        "plan": PLAN,
        "adminEmail": format!("admin@{id}.example.com"),
    });
    let request = client.post(format!("{url}/api/v1/platform/tenants")).bearer_auth(key).json(&body);
    let answer = request.send().await.map_err(http("create a tenant"))?;
    let status = answer.status().as_u16();
    // 409: it is there.
    if answer.status().is_success() || status == 409 {
        Ok(())
    } else {
        Err(refused("create a tenant", answer).await)
    }
}

/// Weir's totals of the load's tenants, in lines for [`crate::Totals::compare`], read from
/// ClickHouse as `user`, who may only read.
///
/// # Errors
/// [`LoadError::Http`], [`LoadError::Refused`].
pub async fn projected_totals(
    url: &str,
    database: &str,
    user: &str,
    password: &str,
) -> Result<String, LoadError> {
    const ATTEMPT: &str = "read Weir's totals from ClickHouse";
    let client = reqwest::Client::new();
    let request = client
        .post(url)
        .query(&[("database", database), ("user", user), ("password", password)])
        .body(TOTALS);
    let answer = request.send().await.map_err(http(ATTEMPT))?;
    if answer.status().is_success() {
        answer.text().await.map_err(http(ATTEMPT))
    } else {
        Err(refused(ATTEMPT, answer).await)
    }
}
