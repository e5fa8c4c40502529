//! Where the files are: put, fetched and listed, by name. A file that is fetched is compared with
//! the sum that it should have.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_wire::archive_file::ArchiveSum;

use crate::StoreError;
use crate::config::ArchiveConfig;

const OPEN: &str = "open the archive";
/// What variables of the environment begin with that speak to an object store.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// The archive. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
}

impl Archive {
    /// The archive that is configured, if one is. `variables` are those of the environment.
    ///
    /// # Errors
    /// When the place or its settings make no sense, or the folder is not there.
    pub fn open(
        config: &ArchiveConfig,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(url) = config.url.clone().filter(|url| !url.is_empty()) else { return Ok(None) };
        let refused = |reason: String| StoreError::corrupt(OPEN, format!("{url}: {reason}"));
        if let Some(folder) = url.strip_prefix("file://").or(url.starts_with('/').then_some(&url)) {
            // Not made: a disk that is not mounted must not be taken for an empty archive.
            let store = LocalFileSystem::new_with_prefix(folder)
                .map_err(|error| refused(format!("{error}; make the folder, or mount what holds it")))?;
            let store = Arc::new(store.with_fsync(true));
            return Ok(Some(Self { store, prefix: Path::default(), url }));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refused("it is neither a folder nor the URL of an object store".into()));
        };
        let prefix = rest.split_once('/').map_or("", |(_, path)| path);
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| refused(error.to_string()))?;
        let inherited = variables.filter(|(name, _)| VARIABLES.iter().any(|begin| name.starts_with(begin)));
        provide_tls();
        let store = match scheme {
            "s3" | "s3a" => s3(&url, inherited, config),
            "gs" => google(&url, inherited, config),
            "az" | "azure" | "abfs" | "abfss" => azure(&url, inherited, config),
            _ => return Err(refused(format!("there is no archive behind {scheme}://"))),
        };
        let store = store.map_err(|error| refused(error.to_string()))?;
        Ok(Some(Self { store, prefix, url }))
    }

    /// Where it is, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn place(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Writes a file. It is there whole or not at all, and safe to repeat.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let put = self.store.put(&self.place(name), bytes.into()).await;
        put.map(|_| ()).map_err(|error| failed("write a file of the archive", name, &error))
    }

    /// The bytes of a file, which have the sum.
    ///
    /// # Errors
    /// Permanent, with the file's name, when it is gone or damaged.
    pub async fn get(&self, name: &str, sum: &ArchiveSum) -> Result<Bytes, StoreError> {
        const ATTEMPT: &str = "read a file of the archive";
        let found = self.store.get(&self.place(name)).await;
        let bytes = match found {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| failed(ATTEMPT, name, &error))?;
        let (bytes, found) = tokio::task::spawn_blocking(move || {
            let found = ArchiveSum::of(&bytes);
            (bytes, found)
        })
        .await
        .map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        if found == *sum {
            return Ok(bytes);
        }
        let reason = format!("{name} is damaged: its content sum is {found}, and the ledger says {sum}");
        Err(StoreError::corrupt(ATTEMPT, reason))
    }

    /// Names and sizes of all files of a topic, in no order.
    pub async fn list(&self, topic: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let folder = self.place(topic);
        let found: Result<Vec<_>, _> = self.store.list(Some(&folder)).try_collect().await;
        let found = found.map_err(|error| failed("list the archive", topic, &error))?;
        let named = found.into_iter().filter_map(|file| {
            let parts: Vec<_> = file.location.prefix_match(&self.prefix)?.collect();
            let name = parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("/");
            Some((name, file.size))
        });
        Ok(named.collect())
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut listed = self.store.list(Some(&self.place("ping")));
        listed.try_next().await.map(|_| ()).map_err(|error| failed("reach the archive", &self.url, &error))
    }
}

/// What is gone or refused stays so; everything else may pass.
fn failed(attempt: &'static str, name: &str, error: &object_store::Error) -> StoreError {
    use object_store::Error;
    let reason = match error {
        Error::NotFound { .. } => format!("{name} is gone"),
        _ => format!("{name}: {error}"),
    };
    match error {
        Error::NotFound { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => StoreError::Permanent { attempt, reason },
        _ => StoreError::Transient { attempt, reason },
    }
}

/// The process's TLS, for clients that bring none; the same for all of them.
fn provide_tls() {
    // Where somebody was first, there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

type Built = Result<Arc<dyn ObjectStore>, object_store::Error>;

fn s3(url: &str, inherited: impl Iterator<Item = (String, String)>, config: &ArchiveConfig) -> Built {
    let mut builder = AmazonS3Builder::new().with_url(url);
    for (name, value) in inherited {
        // Variables that are none of the store's speak to other programs.
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    for (name, value) in &config.settings {
        builder = builder.with_config(name.parse::<AmazonS3ConfigKey>()?, value);
    }
    Ok(Arc::new(builder.build()?))
}

fn google(url: &str, inherited: impl Iterator<Item = (String, String)>, config: &ArchiveConfig) -> Built {
    let mut builder = GoogleCloudStorageBuilder::new().with_url(url);
    for (name, value) in inherited {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    for (name, value) in &config.settings {
        builder = builder.with_config(name.parse::<GoogleConfigKey>()?, value);
    }
    Ok(Arc::new(builder.build()?))
}

fn azure(url: &str, inherited: impl Iterator<Item = (String, String)>, config: &ArchiveConfig) -> Built {
    let mut builder = MicrosoftAzureBuilder::new().with_url(url);
    for (name, value) in inherited {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    for (name, value) in &config.settings {
        builder = builder.with_config(name.parse::<AzureConfigKey>()?, value);
    }
    Ok(Arc::new(builder.build()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, settings: &[(&str, &str)]) -> ArchiveConfig {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ArchiveConfig { url: Some(url.to_owned()), settings: settings.collect(), ..ArchiveConfig::default() }
    }

    fn refusal(config: &ArchiveConfig) -> String {
        Archive::open(config, std::iter::empty()).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_file_comes_back_whole_or_is_told_by_name() {
        let folder = std::env::temp_dir().join(format!("weir-archive-{}", uuid::Uuid::new_v4().simple()));
        let url = folder.display().to_string();
        assert!(refusal(&config(&url, &[])).contains("make the folder"));
        std::fs::create_dir(&folder).unwrap();
        let archive = Archive::open(&config(&format!("file://{url}"), &[]), std::iter::empty());
        let archive = archive.unwrap().unwrap();
        archive.ping().await.unwrap();
        let (name, bytes) = ("usage/g1/p00000/a.weir", Bytes::from_static(b"content"));
        let sum = ArchiveSum::of(&bytes);
        let gone = archive.get(name, &sum).await.unwrap_err();
        assert!(
            !gone.is_transient() && gone.to_string().contains("usage/g1/p00000/a.weir is gone"),
            "{gone}"
        );
        for _ in 0..2 {
            archive.put(name, bytes.to_vec()).await.unwrap();
        }
        assert_eq!(archive.get(name, &sum).await.unwrap(), bytes);
        assert_eq!(archive.list("usage").await.unwrap(), [(name.to_owned(), 7)]);
        assert_eq!(archive.list("other").await.unwrap(), []);
        std::fs::write(folder.join(name), b"Content").unwrap();
        let damaged = archive.get(name, &sum).await.unwrap_err();
        assert!(!damaged.is_transient() && damaged.to_string().contains("a.weir is damaged"), "{damaged}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn places_and_settings_that_make_no_sense_are_refused_in_words() {
        assert!(Archive::open(&ArchiveConfig::default(), std::iter::empty()).unwrap().is_none());
        assert!(refusal(&config("archive", &[])).contains("neither a folder nor"));
        assert!(refusal(&config("ftp://host/path", &[])).contains("ftp://"));
        assert!(refusal(&config("s3://bucket/a", &[("aws_regoin", "x")])).contains("aws_regoin"));
        let region = [("AWS_REGION".to_owned(), "eu-central-1".to_owned()), ("HOME".into(), "/".into())];
        let archive = Archive::open(&config("s3://bucket/a/b/", &[]), region.into_iter()).unwrap().unwrap();
        assert_eq!(archive.place("usage/g1").as_ref(), "a/b/usage/g1");
        assert!(archive.store.to_string().contains("bucket"), "{}", archive.store);
    }
}
