//! Python programs of other projects, from PyPI into a virtual environment below target/.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::dashboard::repository;

/// Runs a script of tests/clients with these packages at hand; it must end with 0. Returns what
/// it wrote to stdout.
pub fn run(script: &str, packages: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let python = environment(packages)?;
    let script = repository().join("tests/clients").join(script);
    let output = Command::new(python)
        .arg(&script)
        .envs(variables.iter().copied())
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}\n{stdout}{stderr}", script.display(), output.status);
    Ok(stdout)
}

/// A program that one of these packages brings, not started yet.
pub fn program(name: &str, packages: &[&str]) -> Result<Command> {
    Ok(Command::new(environment(packages)?.with_file_name(name)))
}

fn environment(packages: &[&str]) -> Result<PathBuf> {
    let folder = repository().join("target/python");
    let python = folder.join("bin/python");
    let mark = folder.join(packages.join(",").replace('/', "_"));
    if !mark.is_file() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status();
        let made = made.context("python3 is missing: install the packages python3 and python3-venv")?;
        ensure!(made.success(), "python3 -m venv failed: install the package python3-venv");
        let installed = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages)
            .status()
            .context("run pip")?;
        ensure!(installed.success(), "pip could not install {}", packages.join(" "));
        std::fs::write(&mark, "").context("note what is installed")?;
    }
    Ok(python)
}
