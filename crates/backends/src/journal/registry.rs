//! The schema registry: writers' schemas by id, where one is configured.

use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id};

use crate::StoreError;

/// A connection to a schema registry.
#[derive(Clone, Debug)]
pub struct SchemaRegistry {
    settings: SrSettings,
}

impl SchemaRegistry {
    /// A registry at a URL.
    pub fn new(url: &str) -> Self {
        Self { settings: SrSettings::new(url.to_owned()) }
    }

    /// The schema's JSON under a number. `None` when the registry says that there is none.
    pub async fn schema(&self, id: u32) -> Result<Option<String>, StoreError> {
        match get_schema_by_id(id, &self.settings).await {
            Ok(registered) => Ok(Some(registered.schema)),
            Err(error) if error.retriable => Err(StoreError::Transient {
                attempt: "read a schema from the registry",
                reason: error.to_string(),
            }),
            Err(_) => Ok(None),
        }
    }
}
