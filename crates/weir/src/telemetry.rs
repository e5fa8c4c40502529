//! Logs. Words for people or JSON for machines, always on stderr: stdout is for data.

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
use crate::waiting::LogLines;

/// Begins logging. `RUST_LOG` wins over the configured filter.
pub(crate) fn begin(config: &LogConfig) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&config.filter));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogLines);
    match config.format {
        LogFormat::Human => {
            let colour = std::env::var_os("NO_COLOR").is_none()
                && std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colour).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
