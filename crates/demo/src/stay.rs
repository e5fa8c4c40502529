//! `make up` and `make down`: the same story, and then everything stays in the background.

use std::fs;

use anyhow::{Context, Result};
use local_stack::Kind;
use local_stack::detached::{self, Status};

use crate::place::{Place, Servers};
use crate::print;
use crate::scene::Scene;
use crate::tenants::PROFILES;
use crate::weir;

/// The file with where to look; it is there when the story was told to its end.
const WHERE: &str = "where-to-look.txt";

/// Starts the servers in the background.
pub fn start(place: &Place) -> Result<Servers> {
    let status = detached::up(&place.stack)?;
    let url = |kind: Kind| {
        let found = status.iter().find(|one: &&Status| one.kind == kind);
        found.map(|one| one.url.clone()).with_context(|| format!("{kind} has no address"))
    };
    Ok(Servers {
        kafka: url(Kind::Kafka)?,
        postgres: url(Kind::Postgres)?,
        clickhouse: url(Kind::ClickHouse)?,
    })
}

/// Stops Weir and the servers that `start` started. Data stays.
pub fn stop(place: &Place) -> Result<()> {
    if weir::stop_in(&place.folder)? {
        eprintln!("stopped weir");
    }
    for kind in detached::down(&place.stack)? {
        eprintln!("stopped {kind}");
    }
    Ok(())
}

/// Writes down and prints where to look.
pub fn settle(place: &Place, scene: &Scene) -> Result<()> {
    let text = where_to_look(place, scene);
    fs::write(place.folder.join(WHERE), &text).context("write down where to look")?;
    print::title("It stays. Where to look");
    print::say(&text);
    Ok(())
}

/// What `settle` wrote, when the story was told before.
pub fn told(place: &Place) -> Option<String> {
    fs::read_to_string(place.folder.join(WHERE)).ok()
}

fn where_to_look(place: &Place, scene: &Scene) -> String {
    let (api, admin, key) = (&place.api, &place.admin, &scene.key);
    let tenant = PROFILES[0].id;
    format!(
        "API          http://{api}/api/v1/platform/tenants
API docs     http://{api}/docs (OpenAPI: http://{api}/api/v1/openapi.json)
Health       http://{admin}/readyz
Metrics      http://{admin}/metrics (Prometheus)
Kafka        {kafka}, topic {topic}
Postgres     {postgres}
ClickHouse   {clickhouse} (user grafana may only read)
Log          {log}

The platform's API key, which the lines below use:
  export WEIR_KEY={key}
Send an event:
  curl -i http://{api}/api/v1/events -H \"authorization: Bearer $WEIR_KEY\" \\
    -H 'content-type: application/cloudevents+json' -d '{{\"specversion\": \"1.0\", \"id\": \"1\",
      \"source\": \"//me\", \"type\": \"api.requests\", \"subject\": \"{tenant}\", \"data\": {{\"calls\": \"1\"}}}}'
Look at usage and quota:
  curl http://{api}/api/v1/platform/tenants/{tenant}/usage -H \"authorization: Bearer $WEIR_KEY\"
  curl http://{api}/api/v1/quota/{tenant}/api_calls -H \"authorization: Bearer $WEIR_KEY\"

Stop it:       make down   (data stays; make up goes on from there)
Begin anew:    make down && rm -r {folder}
",
        kafka = scene.servers.kafka,
        topic = place.usage_topic(),
        postgres = place.ledger_url(&scene.servers),
        clickhouse = scene.servers.clickhouse,
        log = place.folder.join("weir.log").display(),
        folder = place.folder.display(),
    )
}
