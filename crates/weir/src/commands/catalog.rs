//! `weir catalog plan|apply`: what a file would change, and changing it.

use std::path::Path;

use anyhow::Context;
use weir_backends::catalog::{self, CatalogError};
use weir_wire::catalog_file::{self, CatalogDifference, CatalogFile, Refusal};

use crate::cli::Catalog;
use crate::config::Config;
use crate::out;

use super::{ledger_pool, now};

/// How long before it begins a new version must be published, beside the bound for future
/// events: one minute, for processes to hear of it.
const MARGIN_MS: i64 = 60_000;

/// Shows the difference, and applies it when asked.
pub(crate) async fn run(config: &Config, command: &Catalog) -> anyhow::Result<bool> {
    let (path, apply) = match command {
        Catalog::Plan { file } => (file, false),
        Catalog::Apply { file } => (file, true),
    };
    let Some(file) = read(path)? else { return Ok(false) };
    let pool = ledger_pool(config).await?;
    let future_ms = config.counting.future_ms;
    let difference = match catalog::plan(&pool, &file, now(), future_ms, MARGIN_MS).await {
        Err(CatalogError::File(refusals)) => {
            refused(path, &refusals);
            return Ok(false);
        }
        other => other?,
    };
    show(&difference)?;
    if !apply || difference.changes.is_empty() {
        return Ok(true);
    }
    let version = catalog::apply(&pool, &difference.changes, now(), future_ms).await?;
    let changes = out::counted(difference.changes.len(), "change");
    eprintln!("Applied {changes}; the catalogue is at version {version}.");
    Ok(true)
}

fn read(path: &Path) -> anyhow::Result<Option<CatalogFile>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    match catalog_file::parse(&text) {
        Ok(file) => Ok(Some(file)),
        Err(refusals) => {
            refused(path, &refusals);
            Ok(None)
        }
    }
}

fn refused(path: &Path, refusals: &[Refusal]) {
    for refusal in refusals {
        eprintln!("{}: {refusal}", path.display());
    }
    eprintln!("Nothing was changed.");
}

fn show(difference: &CatalogDifference) -> anyhow::Result<()> {
    for change in &difference.changes {
        out::line(change)?;
    }
    for note in &difference.notes {
        eprintln!("note: {note}");
    }
    if difference.changes.is_empty() {
        eprintln!("Nothing to change: everything in the file is published.");
    }
    Ok(())
}
