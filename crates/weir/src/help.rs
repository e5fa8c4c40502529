//! What the end of each command's help says: what it changes, an example, exit codes. A test
//! in `cli` holds every command to it.

pub(crate) const WEIR: &str = "Examples:
  weir migrate                             bring Postgres, ClickHouse and Kafka's topics up to date
  weir catalog plan catalog.toml           show what applying a catalogue would change
  weir catalog apply catalog.toml
  weir key create --name gateway --platform --scope all
  weir serve                               API, aggregator and delivery in one process
  weir bill run                            bill every period that has closed
  weir verify --all                        derive every invoice again and compare
  weir export lines --format csv > lines.csv

Exit codes: 0 yes or done, 1 no or failed, 2 a wrong call or a proof that could not be carried through.
`weir <command> --help` says what a command changes. Settings: defaults, then weir.toml, then
WEIR_<SECTION>__<KEY> (WEIR_<SECTION>__<KEY>_FILE for secrets); `weir config print` shows them.";

pub(crate) const SERVE: &str = "Changes the ledger, ClickHouse and the topics, for as long as it runs.

Example:
  weir serve --roles api                   the API alone, on api.listen

Exit codes: 0 told to stop, 1 a part of it failed, 2 a wrong call.";

pub(crate) const MIGRATE: &str =
    "Changes tables and topics: makes what is missing, removes nothing. It may be repeated.

Example:
  weir migrate

Exit codes: 0 everything is up to date, 1 a server could not be reached or refused, or has settings on
which nothing is counted, 2 a wrong call.";

pub(crate) const CATALOG_PLAN: &str = "Changes nothing.

Example:
  weir catalog plan catalog.toml

Exit codes: 0 it could be applied, 1 it is refused or failed, 2 a wrong call.";

pub(crate) const CATALOG_APPLY: &str =
    "Changes the catalogue: new versions are published and stay as they are from then on.

Example:
  weir catalog apply catalog.toml

Exit codes: 0 applied or nothing to apply, 1 refused or failed (nothing was changed), 2 a wrong call.";

pub(crate) const TENANT_CREATE: &str =
    "Changes the ledger: one tenant more, with its subscription and periods.
Prints the tenant's id.

Example:
  weir tenant create --name Acme --domain acme.example.com --plan pro --admin-email ops@acme.example.com

Exit codes: 0 created, 1 refused or failed, 2 a wrong call.";

pub(crate) const KEY_CREATE: &str =
    "Changes the ledger: one API key more, of a tenant (--tenant) or of the platform (--platform).

Example:
  weir key create --name gateway --platform --scope events:write --source-prefix //gateway

Exit codes: 0 created, 1 refused or failed, 2 a wrong call.";

pub(crate) const LEDGER_STATUS: &str = "Changes nothing.

Example:
  weir ledger status --output json

Exit codes: 0 shown, 1 failed, 2 a wrong call.";

pub(crate) const LEDGER_CHECK: &str =
    "Changes nothing. It reads every raw event; counting may go on meanwhile.

Example:
  weir ledger check

Exit codes: 0 proved, 1 something was lost or doubled, or it failed, 2 a wrong call.";

pub(crate) const LEDGER_ACCEPT_TOPIC: &str =
    "Changes nothing without --yes, and says what has happened to each partition, and what would be
lost, counted or counted again. With --yes it changes the ledger: the next generation begins at the
topic's first offsets, which cannot be taken back. Stop every `weir serve` before.

Example:
  weir ledger accept-topic

Exit codes: 0 accepted, or there is nothing to accept, 1 not accepted or failed, 2 a wrong call.";

pub(crate) const LEDGER_WIDEN: &str =
    "Changes nothing without --yes, and says what it would change. With --yes it gives the usage topic more
partitions, unless somebody has done so already, and lets the ledger count them. Tenants that exist stay
in their partitions; those that are created from then on are spread over all. It cannot be taken back.
Every `weir serve` goes on meanwhile. What was interrupted is said again.

Example:
  weir ledger widen --to 16

Exit codes: 0 widened, or it was before, 1 not widened or failed, 2 a wrong call.";

pub(crate) const PROJECTION_REBUILD: &str =
    "Changes the ledger's note of how far ClickHouse is filled; `weir serve` then fills it again, as far
back as Kafka and the archive reach. What is written twice becomes one row.

Example:
  weir projection rebuild --partition 3 --from 2026-01-31T00:00:00Z

Exit codes: 0 it is asked for, 1 no such partition, or it failed, 2 a wrong call.";

pub(crate) const DLQ_LIST: &str =
    "Changes nothing. A record that was rejected again, or whose letter was written twice after a crash,
is listed once, with its last reason. Filters add up.

Example:
  weir dlq list --reason unknown_tenant --since 2026-01-31T00:00:00Z --output csv

Exit codes: 0 listed, 1 failed, 2 a wrong call.";

pub(crate) const DLQ_SHOW: &str = "Changes nothing. A value that cannot be read is shown as bytes.

Example:
  weir dlq show 1/3/4711

Exit codes: 0 shown, 1 there is none or it failed, 2 a wrong call.";

pub(crate) const DLQ_REPLAY: &str =
    "Changes the usage topic, where the records are written again, keyed by their tenant; counting decides
about them as about any other, so that what was counted before is not counted again: repeating a
replay is safe. With --dry-run nothing is changed.

Example:
  weir dlq replay --reason unknown_tenant --tenant acme --dry-run
  weir dlq replay 1/3/4711 1/3/4712

Exit codes: 0 all were sent, or would be, and none was rejected again, 1 some were not or it failed, 2 a wrong call.";

pub(crate) const ADJUST: &str =
    "Changes the tenant's usage, through the journal: totals, quotas and alerts follow within seconds, and a
period that is billed gets a correction with the next billing run. Only meters that count or add up can
be adjusted. The window for late events does not apply. The same call again with the same --id by the
same --who changes nothing. With --dry-run nothing is changed, and it is said what was asked for before.

Example:
  weir adjust --tenant acme --meter bandwidth --at 2026-01-15T08:30:00Z --quantity 12.5 --events 3 \\
      --id import-2026-01-bandwidth --why 'history of the former system' --dry-run

Exit codes: 0 asked for, or it was before, 1 refused (nothing was changed), or failed (it says whether to run it
again), 2 a wrong call.";

pub(crate) const VOID_EVENT: &str =
    "Changes the tenant's usage, through the journal: what the event added is taken away, before or after
its period was billed (then the next billing run corrects it). The event itself is kept, and its id stays
taken: sent again it is still a duplicate. An event that went into a largest, smallest, latest or
different value cannot be taken out. With --dry-run nothing is changed.

Example:
  weir void-event --tenant acme --source gateway --id req-1 --why 'test traffic' --dry-run

Exit codes: 0 asked for, or it was before, 1 refused (nothing was changed), or failed (it says whether to run it
again), 2 a wrong call.";

pub(crate) const ARCHIVE_STATUS: &str = "Changes nothing. Kafka's first offset is shown beside it.

Example:
  weir archive status --output json

Exit codes: 0 shown, 1 failed, 2 a wrong call.";

pub(crate) const ARCHIVE_CHECK: &str =
    "Changes nothing. It reads every file of the archive, and neither Kafka nor ClickHouse; archiving may
go on meanwhile.

Example:
  weir archive check

Exit codes: 0 it holds what was counted, 1 something is damaged, gone or missing, or it failed, 2 a wrong call.";

pub(crate) const BILL_RUN: &str =
    "Changes the ledger: finalizes documents and gives them numbers, which cannot be taken back.
Repeated, it makes nothing twice.

Example:
  weir bill run --tenant acme

Exit codes: 0 everything that has closed is billed, 1 something was refused or failed, 2 a wrong call.";

pub(crate) const BILL_RETELL: &str =
    "Changes the ledger: every number that was told to the topic waits for delivery again.
For a topic that was lost while the ledger was not; a ledger that was restored must not do it.

Example:
  weir bill retell

Exit codes: 0 done, 1 it failed, 2 a wrong call.";

pub(crate) const INVOICE_SHOW: &str = "Changes nothing.

Example:
  weir invoice show MILL-000001 --output json

Exit codes: 0 shown, 1 there is none or it failed, 2 a wrong call.";

pub(crate) const INVOICE_PAID: &str =
    "Changes the ledger: a payment beside the document, which itself stays as it is. The same payment
again changes nothing; another one for a paid document is refused.

Example:
  weir invoice paid MILL-000001 --at 2026-11-24T09:30:00Z --reference \"SEPA 4711\"

Exit codes: 0 recorded, 1 there is none, it is void, it was paid otherwise, or it failed, 2 a wrong call.";

pub(crate) const VERIFY: &str = "Changes nothing. Raw events that have expired (clickhouse.events_kept_days) cannot be
metered again: such a document rests on the ledger's sums, which is said and passes. Raw events that should be
there and are not are a difference.

Example:
  weir verify --all
  weir verify --invoice MILL-000001 --ledger-only
  weir export invoices | cut -d, -f2 | tail -n +2 | shuf -n 100 | xargs weir verify --invoice

Exit codes: 0 all proved, 1 something differs or it failed, 2 a wrong call, or raw events could not be asked for.";

pub(crate) const EXPORT: &str = "Changes nothing. Data goes to stdout.

Example:
  weir export lines --format csv --tenant acme > lines.csv

Exit codes: 0 written, 1 there is no such tenant or it failed, 2 a wrong call.";

pub(crate) const CONFIG_CHECK: &str = "Changes nothing.

Example:
  weir config check --config weir.toml

Exit codes: 0 every server answers, 1 one does not, has settings on which nothing is counted, or the
configuration is wrong, 2 a wrong call.";

pub(crate) const CONFIG_PRINT: &str = "Changes nothing.

Example:
  weir config print

Exit codes: 0 printed, 1 the configuration is wrong, 2 a wrong call.";

pub(crate) const OPENAPI: &str = "Changes nothing and asks no server.

Example:
  weir openapi > openapi.json

Exit codes: 0 printed, 2 a wrong call.";

pub(crate) const COMPLETIONS: &str = "Changes nothing and asks no server.

Example:
  weir completions bash > /etc/bash_completion.d/weir

Exit codes: 0 printed, 2 a wrong call.";

pub(crate) const LOAD_CATALOG: &str = "Changes nothing.

Example:
  weir load catalog > load.toml && weir catalog apply load.toml

Exit codes: 0 printed, 2 a wrong call.";

pub(crate) const LOAD_TENANTS: &str =
    "Changes the ledger, through the API: makes the tenants that are missing.

Example:
  weir load tenants --tenants 1000 --key \"$KEY\"

Exit codes: 0 all are there, 1 it failed, 2 a wrong call.";

pub(crate) const LOAD_CHECK: &str = "Changes nothing.

Example:
  weir load check expected.tsv

Exit codes: 0 what was counted is what was expected, 1 it differs or failed, 2 a wrong call.";
