//! Where a run takes place: its folder and its own Kafka, Postgres and ClickHouse, which all of its
//! rounds use one after the other. Servers of the user's own are never used: here they are killed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use local_stack::{Component, Kind, Ports, Stack, StackConfig, repository};

/// The servers and the folder.
#[derive(Debug)]
pub struct Site {
    /// Data and logs of everything.
    pub folder: PathBuf,
    stack: Stack,
    disks: Vec<PathBuf>,
}

/// A disk of its own for one server, in megabytes: twice what a round writes.
const DISK_MEGABYTES: u32 = 1_500;
const FILLER: &str = "filler";

impl Site {
    /// Starts the servers in `.weir/chaos/<name>`, which is emptied first. The servers in `own_disks`
    /// get a small disk of their own (in memory), which needs the right to mount.
    pub fn open(name: &str, own_disks: &[Kind]) -> Result<Self> {
        let folder = repository().join(".weir").join("chaos").join(name);
        let disks: Vec<_> = own_disks.iter().map(|kind| disk(&folder, *kind)).collect();
        unmount(&disks);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        for disk in &disks {
            mount(disk)?;
        }
        // Only its folder of programs is taken from the environment.
        let defaults = StackConfig::defaults()?;
        let config = StackConfig { state: folder.join("servers"), ports: Ports::free()?, ..defaults };
        let stack = Stack::start(&config)?;
        for component in stack.components() {
            let name = component.kind();
            ensure!(
                !component.is_foreign(),
                "{name} of your own is not used here, since it would be killed: unset the variable"
            );
        }
        Ok(Self { folder, stack, disks })
    }

    /// One of the three.
    pub fn server(&self, kind: Kind) -> &Component {
        match kind {
            Kind::Kafka => self.kafka(),
            Kind::Postgres => self.postgres(),
            Kind::ClickHouse => self.clickhouse(),
        }
    }

    /// Writes until nothing more fits on the server's disk.
    pub fn fill_disk(&self, kind: Kind) -> Result<()> {
        let disk = disk(&self.folder, kind);
        ensure!(self.disks.contains(&disk), "{kind} has no disk of its own");
        let mut file = fs::File::create(disk.join(FILLER)).context("begin to fill a disk")?;
        let zeros = vec![0; 1 << 20];
        while file.write_all(&zeros).is_ok() {}
        Ok(())
    }

    /// Makes room again.
    pub fn free_disk(&self, kind: Kind) -> Result<()> {
        fs::remove_file(disk(&self.folder, kind).join(FILLER)).context("make room on a disk")
    }

    /// Kafka.
    pub fn kafka(&self) -> &Component {
        self.stack.kafka()
    }

    /// Postgres.
    pub fn postgres(&self) -> &Component {
        self.stack.postgres()
    }

    /// ClickHouse.
    pub fn clickhouse(&self) -> &Component {
        self.stack.clickhouse()
    }

    /// Stops the servers and removes everything.
    pub fn remove(self) -> Result<()> {
        let Self { folder, stack, disks } = self;
        stack.stop()?;
        unmount(&disks);
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
    }
}

/// Where a server's folder is; local-stack names it so.
fn disk(folder: &Path, kind: Kind) -> PathBuf {
    let name = match kind {
        Kind::Kafka => "kafka",
        Kind::Postgres => "postgres",
        Kind::ClickHouse => "clickhouse",
    };
    folder.join("servers").join(name)
}

/// Whether a small disk can be mounted here.
pub fn can_mount() -> bool {
    let folder = std::env::temp_dir().join(format!("weir-chaos-mount-{}", std::process::id()));
    let mounted = mount(&folder).is_ok();
    unmount(std::slice::from_ref(&folder));
    // It is empty, or was never made.
    let _ = fs::remove_dir(&folder);
    mounted
}

fn mount(disk: &Path) -> Result<()> {
    fs::create_dir_all(disk).with_context(|| format!("create {}", disk.display()))?;
    let size = format!("size={DISK_MEGABYTES}m");
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk).stderr(Stdio::null());
    let mounted = command.status().context("mount a small disk")?;
    ensure!(mounted.success(), "a small disk cannot be mounted: that needs root");
    Ok(())
}

/// Also those that an earlier run has left.
fn unmount(disks: &[PathBuf]) {
    for disk in disks {
        let mut command = Command::new("umount");
        // Nothing may be mounted there.
        let _ = command.arg(disk).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// `host:port` of a URL such as `postgres://weir@host:port/weir`.
pub(crate) fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Copies a folder as it is, owners included.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    let copied = copied.with_context(|| format!("copy {}", from.display()))?;
    ensure!(copied.success(), "copying {} to {} failed", from.display(), to.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses() {
        assert_eq!(address("postgres://weir@127.0.0.1:1/weir"), "127.0.0.1:1");
        assert_eq!(address("http://127.0.0.1:2"), "127.0.0.1:2");
        assert_eq!(address("127.0.0.1:3"), "127.0.0.1:3");
    }
}
