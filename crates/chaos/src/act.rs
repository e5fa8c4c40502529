//! Doing faults. What is done is over when the function returns, apart from what goes on in the
//! background by its nature (a frozen process, a server that starts, partitions on the move).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use local_stack::{Kind, Moment, Program, Proxy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use weir_demo::weir;

use crate::fault::{Between, COMMIT, Fault, Point};
use crate::house::House;
use crate::member::Member;
use crate::plan::Plan;
use crate::site::{Site, address};
use crate::watch::Watch;

/// Longer than the session's timeout of Kafka's group, which is 10 s.
const FROZEN: Duration = Duration::from_secs(12);
/// How long the moment of a point is waited for.
const POINT_MAX: Duration = Duration::from_secs(4);
/// How long a server stays away.
pub(crate) const AWAY: Duration = Duration::from_millis(500);
/// How long a process that joins may take until it has a partition.
const JOIN_MAX: Duration = Duration::from_secs(25);
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// Whoever does faults in a round.
#[derive(Debug)]
pub(crate) struct Breaker {
    pub(crate) site: Arc<Site>,
    pub(crate) house: Arc<House>,
    pub(crate) watch: Arc<Watch>,
    /// Kills of processes that are no members: billing runs.
    pub(crate) other_kills: Arc<AtomicU64>,
    background: JoinSet<Result<()>>,
}

impl Breaker {
    pub(crate) fn new(site: Arc<Site>, house: Arc<House>) -> Self {
        let (watch, other_kills) = (Arc::default(), Arc::default());
        Self { site, house, watch, other_kills, background: JoinSet::new() }
    }

    /// Does a fault.
    pub(crate) async fn act(&mut self, fault: Fault, plan: &mut Plan) -> Result<()> {
        if fault.is_exclusive() {
            self.calm().await?;
        }
        let name = fault.name();
        match fault {
            Fault::Kill => {
                let members = &self.house.members;
                let victim = Arc::clone(&members[plan.roll(members.len())]);
                self.note(&name, victim.kill());
            }
            Fault::KillAll => {
                let killed = self.house.everyone().filter(|member| member.kill()).count();
                self.note(&name, killed > 0);
            }
            Fault::KillAt(point) if point.between == Between::Billing => {
                self.kill_billing(&name, point).await?
            }
            Fault::KillAt(point) => self.kill_at(&name, point, plan).await,
            Fault::KillAtWebhook => self.kill_at_webhook(&name).await,
            Fault::Cut(moment) => self.cut_at(&name, moment, plan).await,
            Fault::CutAll => {
                let cut = self.counter(plan).postgres.cut();
                self.note(&name, cut > 0);
            }
            Fault::Freeze => self.freeze(&name, plan)?,
            Fault::Move { killed } => self.move_partitions(name, killed),
            Fault::Server(kind) => self.restart_server(&name, kind),
            Fault::ClickHouseLost => self.lose_clickhouse(&name).await?,
            Fault::LedgerRestored => self.restore_ledger(&name).await?,
            Fault::DiskFull(kind) => self.fill_disk(&name, kind).await?,
        }
        Ok(())
    }

    /// Waits until nothing goes on in the background.
    pub(crate) async fn calm(&mut self) -> Result<()> {
        while let Some(done) = self.background.join_next().await {
            done.context("a fault stopped")??;
        }
        Ok(())
    }

    fn note(&self, fault: &str, done: bool) {
        if done { self.watch.done(fault) } else { self.watch.missed(fault) }
    }

    /// A member that counts and is not frozen.
    fn counter(&self, plan: &mut Plan) -> Arc<Member> {
        let members = &self.house.members;
        let counters: Vec<_> = members.iter().filter(|one| one.is_aggregator() && !one.is_frozen()).collect();
        let chosen = counters.get(plan.roll(counters.len())).copied();
        Arc::clone(chosen.unwrap_or(&members[0]))
    }

    async fn kill_at(&self, name: &str, point: Point, plan: &mut Plan) {
        let victim = self.counter(plan);
        let proxy = match point.between {
            Between::ClickHouse => &victim.clickhouse,
            Between::Postgres | Between::Billing => &victim.postgres,
        };
        let killed = Arc::clone(&victim);
        proxy.do_at(point.marker.as_bytes(), point.moment, move || {
            killed.kill();
        });
        if !sprung(proxy, POINT_MAX / 4).await {
            // A statement is named only once on each connection: new ones are needed.
            if victim.kill() {
                self.watch.done(&Fault::Kill.name());
            }
            sprung(proxy, POINT_MAX).await;
        }
        self.note(name, !proxy.is_armed());
        proxy.disarm();
    }

    async fn kill_at_webhook(&self, name: &str) {
        let everyone: Vec<_> = self.house.everyone().filter(|one| one.is_aggregator()).cloned().collect();
        let receiver = &self.house.receiver;
        receiver.before_answer(move || {
            for member in &everyone {
                member.kill();
            }
        });
        let deadline = Instant::now() + POINT_MAX;
        while receiver.is_armed() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        self.note(name, !receiver.is_armed());
        receiver.disarm();
    }

    async fn cut_at(&self, name: &str, moment: Moment, plan: &mut Plan) {
        let victim = self.counter(plan);
        victim.postgres.cut_at(COMMIT.as_bytes(), moment);
        let cut = sprung(&victim.postgres, POINT_MAX).await;
        victim.postgres.disarm();
        self.note(name, cut);
    }

    fn freeze(&mut self, name: &str, plan: &mut Plan) -> Result<()> {
        let victim = self.counter(plan);
        victim.freeze()?;
        self.note(name, victim.is_frozen());
        self.background.spawn(async move {
            sleep(FROZEN).await;
            victim.thaw()
        });
        Ok(())
    }

    fn move_partitions(&mut self, name: String, killed: bool) {
        let (house, watch) = (Arc::clone(&self.house), Arc::clone(&self.watch));
        self.background.spawn(async move {
            house.guest.want(true);
            let has_joined = joined(&house).await;
            match (has_joined, killed) {
                (true, _) => watch.done(&name),
                (false, _) => watch.missed(&name),
            }
            house.guest.want(false);
            if killed {
                house.guest.kill();
                return Ok(());
            }
            let guest = Arc::clone(&house.guest);
            tokio::task::spawn_blocking(move || guest.stop()).await?
        });
    }

    fn restart_server(&mut self, name: &str, kind: Kind) {
        let site = Arc::clone(&self.site);
        self.note(name, true);
        self.background.spawn_blocking(move || {
            let server = site.server(kind);
            server.kill()?;
            std::thread::sleep(AWAY);
            Ok(server.restart()?)
        });
    }

    /// Starts a billing run, which dies at the point or ends by itself.
    async fn kill_billing(&self, name: &str, point: Point) -> Result<()> {
        let proxy = Proxy::before(address(self.site.postgres().url()))?;
        let mut command = Command::new(weir::program()?);
        command.args(["bill", "run"]).envs(self.house.environment.iter().cloned());
        let url = format!("postgres://weir@{}/{}", proxy.address(), self.house.name);
        command.env("WEIR_POSTGRES__URL", url).current_dir(&self.site.folder);
        let log = self.site.folder.join(format!("{}-billing.log", self.house.name));
        let (killed, cell) = (Arc::clone(&self.other_kills), Arc::new(std::sync::OnceLock::<Program>::new()));
        let victim = Arc::clone(&cell);
        proxy.do_at(point.marker.as_bytes(), point.moment, move || {
            if victim.get().is_some_and(|program| program.kill().unwrap_or(false)) {
                killed.fetch_add(1, Ordering::SeqCst);
            }
        });
        let program = Program::start(command, &log)?;
        // It cannot have been set before.
        let _ = cell.set(program.clone());
        let deadline = Instant::now() + POINT_MAX * 4;
        while program.ended()?.is_none() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        program.kill()?;
        self.note(name, !proxy.is_armed());
        Ok(())
    }
}

/// Waits until the proxy has met its marker.
async fn sprung(proxy: &Proxy, max: Duration) -> bool {
    let deadline = Instant::now() + max;
    while proxy.is_armed() && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    !proxy.is_armed()
}

/// Waits until the guest owns a partition.
async fn joined(house: &House) -> bool {
    const OWNED: &str = "SELECT count(*) FROM journal_partition WHERE owner_name LIKE '%:' || $1";
    let deadline = Instant::now() + JOIN_MAX;
    while Instant::now() < deadline {
        if let Some(pid) = house.guest.pid() {
            let owned = sqlx::query_scalar(OWNED).bind(pid.to_string()).fetch_one(&house.pool).await;
            // Postgres may be away at the moment.
            if owned.is_ok_and(|owned: i64| owned > 0) {
                return true;
            }
        }
        sleep(LOOK * 5).await;
    }
    false
}
