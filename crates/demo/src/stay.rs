//! `make up` and `make down`: the same story, and then everything stays in the background.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

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

/// Stops Weir and the servers that `start` started; false when none of them ran. Data stays.
pub fn stop(place: &Place) -> Result<bool> {
    let counted = weir::stop_in(&place.folder)?;
    if counted {
        eprintln!("stopped weir");
    }
    let stopped = detached::down(&place.stack)?;
    for kind in &stopped {
        eprintln!("stopped {kind}");
    }
    Ok(counted || !stopped.is_empty())
}

/// Writes down the configuration and where to look, and prints the latter. The webhook is
/// deleted: its receiver ends with this program, and nobody should knock at its door for days.
pub async fn settle(place: &Place, scene: &Scene) -> Result<()> {
    scene.api.delete(&format!("/api/v1/webhooks/{}", scene.webhook)).await.context("delete the webhook")?;
    fs::write(configuration_file(place), configuration(&place.environment(&scene.servers)))
        .context("write down the configuration")?;
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

fn configuration_file(place: &Place) -> PathBuf {
    place.folder.join("weir.toml")
}

/// The variables `WEIR_SECTION__KEY` as a configuration file.
fn configuration(variables: &[(String, String)]) -> String {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in variables {
        let name = name.trim_start_matches("WEIR_").to_lowercase();
        let (section, key) = name.split_once("__").unwrap_or(("", &name));
        let value = match value.as_str() {
            "true" | "false" => value.clone(),
            text => format!("{text:?}"),
        };
        sections.entry(section.to_owned()).or_default().push(format!("{key} = {value}\n"));
    }
    let mut text = "# The configuration of what `make up` started.\n".to_owned();
    for (section, lines) in sections {
        if !section.is_empty() {
            text.push_str(&format!("\n[{section}]\n"));
        }
        text.extend(lines);
    }
    text
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
The program itself, on these servers (weir help lists its commands):
  export WEIR_CONFIG={configuration}
  {weir} ledger status
  {weir} verify --all

Stop it:       make down   (data stays; make up goes on from there)
Begin anew:    make down && rm -r {folder}
",
        kafka = scene.servers.kafka,
        topic = place.usage_topic(),
        postgres = place.ledger_url(&scene.servers),
        clickhouse = scene.servers.clickhouse,
        log = place.folder.join("weir.log").display(),
        configuration = configuration_file(place).display(),
        weir = weir::program().map_or_else(|_| "weir".to_owned(), |path| path.display().to_string()),
        folder = place.folder.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_a_file() {
        let variables = [
            ("WEIR_ENV", "demo"),
            ("WEIR_API__LISTEN", "127.0.0.1:8787"),
            ("WEIR_KAFKA__USAGE_TOPIC", "weir.usage.v1"),
            ("WEIR_LEDGER__SINGLE_NODE", "true"),
            ("WEIR_API__ALLOW_PRIVATE_WEBHOOKS", "true"),
        ];
        let text = configuration(&variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let expected = r#"# The configuration of what `make up` started.
env = "demo"

[api]
listen = "127.0.0.1:8787"
allow_private_webhooks = true

[kafka]
usage_topic = "weir.usage.v1"

[ledger]
single_node = true
"#;
        assert_eq!(text, expected);
    }
}
