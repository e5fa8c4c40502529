//! The settings of Postgres that the ledger's promises rest on, as a session of Weir's sees them,
//! and what is wrong with them. Isolation and writability are not among them: each session sets
//! those itself.

use std::collections::BTreeMap;

use crate::StoreError;
use crate::postgres::Pool;
use crate::settings::Finding;

const SETTINGS: &str = "SELECT name, setting FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names')";

/// What a session of Weir's sees.
struct Told {
    values: BTreeMap<String, String>,
    /// What the operator says of the ledger.
    single_node: bool,
}

impl Told {
    fn is(&self, name: &str, value: &str) -> bool {
        self.values.get(name).map(String::as_str) == Some(value)
    }

    fn has_standbys(&self) -> bool {
        self.values.contains_key("synchronous_standby_names") && !self.is("synchronous_standby_names", "")
    }
}

/// What a promise needs of Postgres.
struct Need {
    broken: fn(&Told) -> bool,
    words: &'static str,
    refuses: bool,
}

const NEEDS: [Need; 5] = [
    Need {
        broken: |told| told.is("fsync", "off"),
        words: "Postgres has fsync=off, but needs fsync=on: after a crash of its machine the ledger may be corrupt",
        refuses: true,
    },
    Need {
        broken: |told| told.is("synchronous_commit", "off"),
        words: "Postgres has synchronous_commit=off, but needs synchronous_commit=on: a crash takes back what was \
                answered as done; set it for the server, the database and the role",
        refuses: true,
    },
    Need {
        broken: |told| told.is("full_page_writes", "off"),
        words: "Postgres has full_page_writes=off, but needs full_page_writes=on, unless its file system never \
                tears a page: a crash of its machine may corrupt the ledger",
        refuses: false,
    },
    Need {
        broken: |told| told.has_standbys() && told.is("synchronous_commit", "local"),
        words: "Postgres has synchronous_commit=local, but needs synchronous_commit=on: its standbys are not waited \
                for, and what they have not got is lost with its disk",
        refuses: false,
    },
    Need {
        broken: |told| !told.has_standbys() && !told.single_node,
        words: "Postgres has no synchronous standby: invoice numbers and alerts that have left the house are lost \
                with its disk; set synchronous_standby_names, or say ledger.single_node = true",
        refuses: false,
    },
];

/// What is wrong with the ledger's settings. `single_node` is what the operator says of it.
pub async fn findings(pool: &Pool, single_node: bool) -> Result<Vec<Finding>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as(SETTINGS)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("look at Postgres' settings", &error))?;
    let told = Told { values: rows.into_iter().collect(), single_node };
    let broken = NEEDS.iter().filter(|need| (need.broken)(&told));
    Ok(broken.map(|need| Finding { refuses: need.refuses, words: need.words.to_owned() }).collect())
}
