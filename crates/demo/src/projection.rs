//! ClickHouse, read as Grafana reads it: over HTTP, through the views, as a user that may only read.

use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;

use crate::decimal::grouped;
use crate::ledger::{Totals, nanos};
use crate::opening::LIMITED;
use crate::print;
use crate::scene::Scene;

/// Whom to ask, and as whom.
#[derive(Clone, Debug)]
pub struct Reader {
    /// `http://…`.
    pub url: String,
    /// The database.
    pub database: String,
    /// A user that may read.
    pub user: String,
    /// Its password.
    pub password: String,
}

const TOTALS: &str = "SELECT tenant, meter, toString(sum(quantity)), sum(event_count) FROM usage_hourly
    GROUP BY tenant, meter FORMAT TabSeparated";
const DAYS: &str = "SELECT toDate(hour) AS day, sum(event_count), toString(sum(quantity)),
    toString(max(quantity)) FROM usage_hourly WHERE tenant = {tenant:String} AND meter = {meter:String}
    GROUP BY day ORDER BY day DESC LIMIT 7 FORMAT TabSeparated";

/// Usage by tenant and meter, from the hourly rollups.
pub async fn totals(reader: &Reader) -> Result<Totals> {
    let mut totals = Totals::new();
    for row in reader.ask(TOTALS, &[]).await? {
        let [tenant, meter, quantity, events] = &row[..] else { bail!("unexpected rollups: {row:?}") };
        let events = events.parse().with_context(|| format!("{events} is no count"))?;
        totals.insert((tenant.clone(), meter.clone()), (nanos(quantity)?, events));
    }
    Ok(totals)
}

/// Prints a week of one tenant's usage by the day.
pub(crate) async fn days(scene: &Scene) -> Result<()> {
    let (tenant, meter) = LIMITED;
    let mut rows = reader(scene).ask(DAYS, &[("param_tenant", tenant), ("param_meter", meter)]).await?;
    for number in rows.iter_mut().flat_map(|row| row.iter_mut().skip(1)) {
        *number = grouped(nanos(number)?);
    }
    print::title(&format!("Rollups in ClickHouse: {meter} of {tenant}, the last days"));
    print::table(&["day (UTC)", ">events", ">calls", ">calls in the busiest hour"], rows);
    Ok(())
}

/// The reader of the story.
pub(crate) fn reader(scene: &Scene) -> Reader {
    let (user, password) = scene.place.projection_reader();
    Reader { url: scene.servers.clickhouse.clone(), database: scene.place.database(), user, password }
}

impl Reader {
    /// The rows of an answer in `TabSeparated`, field by field.
    pub async fn ask(&self, query: &'static str, parameters: &[(&str, &str)]) -> Result<Vec<Vec<String>>> {
        let client = Client::builder().no_proxy().build().context("make an HTTP client")?;
        let answer = client
            .post(&self.url)
            .query(&[("database", self.database.as_str())])
            .query(parameters)
            .header("x-clickhouse-user", &self.user)
            .header("x-clickhouse-key", &self.password)
            .body(query)
            .send()
            .await
            .context("ask ClickHouse")?;
        let status = answer.status();
        let text = answer.text().await.context("read ClickHouse's answer")?;
        ensure!(status.is_success(), "ClickHouse answered {status}: {text}");
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}
