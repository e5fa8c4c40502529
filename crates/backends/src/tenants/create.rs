//! Making a tenant: itself, its subscription, its billing periods, the rise of the
//! catalogue's version and the audit entry, in one transaction.

use chrono::{Months, NaiveDate};
use sqlx::PgConnection;
use weir_billing::{LegalEntityKey, PlanKey};
use weir_core::calendar::CalendarError;
use weir_core::{BillingCalendar, Currency, HourAlignment, TenantId, Timestamp};

use super::input::Problems;
use super::tenant::{self, Tenant};
use super::{TenantError, audit, periods};
use crate::StoreError;
use crate::postgres::Pool;

/// How many years back billing period 0 may begin: every period since then is written, and billed.
const ANCHOR_YEARS_MAX: u32 = 10;
/// How many months ahead it may begin: later ones are a slip of the finger, and cannot be corrected.
const ANCHOR_MONTHS_AHEAD_MAX: u32 = 12;

/// What is needed to make a tenant. What is `None` gets its default.
#[derive(Clone, Debug, Default)]
pub struct NewTenant {
    /// The id; `None`: a new one (`tnt_…`).
    pub id: Option<TenantId>,
    /// For people and invoices.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// The plan's key.
    pub plan: String,
    /// Who is written to.
    pub admin_email: String,
    /// IANA billing time zone; `None`: UTC.
    pub zone: Option<String>,
    /// First day of billing period 0; `None`: today in the zone.
    pub anchor: Option<NaiveDate>,
    /// ISO 4217; `None`: the plan's. It must be the plan's.
    pub currency: Option<String>,
    /// The key of the legal entity that bills; `None`: the first by key.
    pub legal_entity: Option<String>,
    /// Periods that end at or before this are not billed; `None`: the start of period 0.
    pub starts_at: Option<Timestamp>,
}

const INSERT_TENANT: &str = "INSERT INTO tenant (id, name, domain, admin_email, status, zone,
        hour_alignment, anchor, currency, created_at, updated_at)
    VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $9, $9)";
pub(super) const INSERT_SUBSCRIPTION: &str =
    "INSERT INTO subscription (id, tenant, plan, legal_entity, starts_at, created_at)
    VALUES ($1, $2, $3, $4, $5, $6)";
const PLAN_CURRENCY: &str = "SELECT definition->>'currency' FROM plan_version
    WHERE key = $1 ORDER BY version DESC LIMIT 1";
const LEGAL_ENTITY: &str = "SELECT key FROM legal_entity
    WHERE $1::text IS NULL OR key = $1 ORDER BY key LIMIT 1";

/// Makes a tenant and returns it as stored.
///
/// # Errors
/// [`TenantError::Invalid`] names every member that breaks a rule; [`TenantError::Taken`]
/// when the id or the domain belongs to another.
pub async fn create(pool: &Pool, new: NewTenant, now: Timestamp, actor: &str) -> Result<Tenant, TenantError> {
    const ATTEMPT: &str = "create a tenant";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut tx = pool.begin().await.map_err(failed)?;
    let checked = check(&mut tx, &new, now).await?;
    let id = new.id.map_or_else(fresh_id, Ok)?;
    insert_tenant(&mut tx, &id, &new.name, &new.admin_email, &checked, now).await?;
    let first = checked.calendar.period(0).map_err(|e| TenantError::invalid("/anchor", e.to_string()))?;
    sqlx::query(INSERT_SUBSCRIPTION)
        .bind(format!("sub_{}", uuid::Uuid::now_v7().simple()))
        .bind(id.as_str())
        .bind(&new.plan)
        .bind(&checked.legal_entity)
        .bind(new.starts_at.unwrap_or(first.start).to_chrono())
        .bind(now.to_chrono())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    periods::write(&mut tx, id.as_str(), &checked.calendar, now).await?;
    crate::catalog::bump(&mut tx).await?;
    let detail = serde_json::json!({
        "name": new.name, "domain": checked.domain, "plan": new.plan, "zone": checked.calendar.zone(),
        "anchor": checked.calendar.anchor().to_string(), "currency": checked.currency,
        "legal_entity": checked.legal_entity,
    });
    audit::record(&mut tx, now, actor, "tenant.created", Some(id.as_str()), detail).await?;
    let stored = tenant::read(&mut *tx, id.as_str()).await?;
    tx.commit().await.map_err(failed)?;
    stored.ok_or_else(|| StoreError::corrupt(ATTEMPT, "it is not there after it was written").into())
}

/// The input after its rules were checked and its defaults filled in.
struct Checked {
    domain: String,
    calendar: BillingCalendar,
    alignment: HourAlignment,
    currency: String,
    legal_entity: String,
}

async fn check(conn: &mut PgConnection, new: &NewTenant, now: Timestamp) -> Result<Checked, TenantError> {
    let mut problems = Problems::default();
    problems.check_name("/name", &new.name);
    problems.check_domain("/domain", &new.domain);
    problems.check_email("/adminEmail", &new.admin_email);
    let calendar = calendar(&mut problems, new, now);
    let plan_currency = plan_currency(conn, &new.plan).await?;
    check_currency(&mut problems, new.currency.as_deref(), &new.plan, plan_currency.as_deref());
    let legal_entity = legal_entity(conn, new.legal_entity.as_deref()).await?;
    if legal_entity.is_none() {
        let detail = match &new.legal_entity {
            Some(_) => "is not the key of a legal entity of the catalogue",
            None => "there is no legal entity yet; apply a catalogue that has one",
        };
        problems.add("/legalEntity", detail);
    }
    match (calendar, plan_currency, legal_entity, problems.into_inner()) {
        (Some((calendar, alignment)), Some(currency), Some(legal_entity), problems)
            if problems.is_empty() =>
        {
            let domain = new.domain.to_ascii_lowercase();
            Ok(Checked { domain, calendar, alignment, currency, legal_entity })
        }
        (.., problems) => Err(TenantError::Invalid(problems)),
    }
}

fn calendar(
    problems: &mut Problems,
    new: &NewTenant,
    now: Timestamp,
) -> Option<(BillingCalendar, HourAlignment)> {
    let zone = new.zone.as_deref().unwrap_or("UTC");
    let earliest = now.to_chrono().date_naive() - Months::new(12 * ANCHOR_YEARS_MAX);
    if new.anchor.is_some_and(|anchor| anchor < earliest) {
        problems.add("/anchor", format!("lies more than {ANCHOR_YEARS_MAX} years back"));
        return None;
    }
    let latest = now.to_chrono().date_naive() + Months::new(ANCHOR_MONTHS_AHEAD_MAX);
    if new.anchor.is_some_and(|anchor| anchor > latest) {
        problems.add("/anchor", format!("lies more than {ANCHOR_MONTHS_AHEAD_MAX} months ahead"));
        return None;
    }
    let made = match new.anchor {
        Some(anchor) => BillingCalendar::new(zone, anchor),
        None => today(zone, now),
    };
    let made = made.and_then(|calendar| Ok((calendar, calendar.hour_alignment()?)));
    match made {
        Ok(made) => Some(made),
        Err(error @ CalendarError::OutOfRange(_)) => {
            problems.add("/anchor", error.to_string());
            None
        }
        Err(error) => {
            problems.add("/timezone", error.to_string());
            None
        }
    }
}

/// The calendar that is anchored on the day that `now` falls on in the zone: the last one
/// whose first period has begun. A zone is at most a day away from UTC.
fn today(zone: &str, now: Timestamp) -> Result<BillingCalendar, CalendarError> {
    let utc = now.to_chrono().date_naive();
    let days = [utc.succ_opt(), Some(utc), utc.pred_opt()].into_iter().flatten();
    for day in days {
        let calendar = BillingCalendar::new(zone, day)?;
        if calendar.period(0)?.start <= now {
            return Ok(calendar);
        }
    }
    Err(CalendarError::OutOfRange(0))
}

pub(super) async fn plan_currency(conn: &mut PgConnection, plan: &str) -> Result<Option<String>, StoreError> {
    if PlanKey::new(plan).is_err() {
        return Ok(None);
    }
    sqlx::query_scalar(PLAN_CURRENCY)
        .bind(plan)
        .fetch_optional(conn)
        .await
        .map_err(|error| StoreError::postgres("read a plan", &error))
}

fn check_currency(problems: &mut Problems, wanted: Option<&str>, plan: &str, of_plan: Option<&str>) {
    if of_plan.is_none() {
        problems.add("/plan", "is not the key of a published plan");
    }
    let Some(code) = wanted else { return };
    match (Currency::new(code), of_plan) {
        (Err(error), _) => problems.add("/currency", error.to_string()),
        (Ok(currency), Some(of_plan)) if currency.code() != of_plan => {
            problems.add("/currency", format!("is {code}, but the plan {plan} is priced in {of_plan}"));
        }
        _ => {}
    }
}

async fn legal_entity(conn: &mut PgConnection, key: Option<&str>) -> Result<Option<String>, StoreError> {
    if key.is_some_and(|key| LegalEntityKey::new(key).is_err()) {
        return Ok(None);
    }
    sqlx::query_scalar(LEGAL_ENTITY)
        .bind(key)
        .fetch_optional(conn)
        .await
        .map_err(|error| StoreError::postgres("read the legal entities", &error))
}

async fn insert_tenant(
    conn: &mut PgConnection,
    id: &TenantId,
    name: &str,
    admin_email: &str,
    checked: &Checked,
    now: Timestamp,
) -> Result<(), TenantError> {
    let done = sqlx::query(INSERT_TENANT)
        .bind(id.as_str())
        .bind(name)
        .bind(&checked.domain)
        .bind(admin_email)
        .bind(checked.calendar.zone())
        .bind(i16::from(checked.alignment.minutes()))
        .bind(checked.calendar.anchor())
        .bind(&checked.currency)
        .bind(now.to_chrono())
        .execute(conn)
        .await;
    done.map(|_| ()).map_err(|error| taken(&error, id.as_str(), &checked.domain))
}

/// Tells a doubled id or domain apart from what else the ledger says.
pub(super) fn taken(error: &sqlx::Error, id: &str, domain: &str) -> TenantError {
    match error.as_database_error().and_then(|database| database.constraint()) {
        Some("tenant_pkey") => TenantError::Taken { member: "id", value: id.to_owned() },
        Some("tenant_domain") => TenantError::Taken { member: "domain", value: domain.to_owned() },
        _ => StoreError::postgres("write a tenant", error).into(),
    }
}

fn fresh_id() -> Result<TenantId, StoreError> {
    TenantId::new(&format!("tnt_{}", uuid::Uuid::now_v7().simple()))
        .map_err(|error| StoreError::corrupt("make up a tenant id", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn today_is_the_zones_day() {
        let now = Timestamp::parse("2026-11-24T20:00:00Z").unwrap();
        let day = |zone: &str| today(zone, now).unwrap().anchor().to_string();
        assert_eq!(day("UTC"), "2026-11-24");
        assert_eq!(day("Asia/Kolkata"), "2026-11-25");
        assert_eq!(day("Pacific/Kiritimati"), "2026-11-25");
        assert_eq!(day("Pacific/Pago_Pago"), "2026-11-24");
        assert!(today("Mars/Olympus", now).is_err());
    }
}
