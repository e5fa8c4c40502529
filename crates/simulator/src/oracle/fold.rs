//! The fold over one partition's records, in the order in which they stand.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{Homes, Span};

use super::alerts::{self, Crossing, Spot};
use super::invoices::Counted;
use super::reading::{Adjustment, Change, Event, Limit, Limits, Reading, nanos};
use super::tallies::{Part, Sum};
use crate::scenario::{Cast, FUTURE_MS, METERS, MeterFacts, Tally, WINDOW_MS};

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Accepted,
    Duplicate,
    Conflict,
    Rejected(&'static str),
    Forwarded(i32),
    Control,
}

/// By what usage is kept: tenant, meter, start of the hour, dimensions.
pub(super) type Key = (String, &'static str, i64, String);

#[derive(Clone, Debug)]
struct First {
    event: Event,
    arrived_ms: i64,
}

/// What was folded so far.
pub(super) struct Fold<'a> {
    cast: &'a Cast,
    partition: i32,
    now_ms: i64,
    ids: BTreeMap<(String, String, String), First>,
    pub(super) usage: BTreeMap<Key, (Tally, Sum)>,
    totals: BTreeMap<(String, &'static str, i64), (Span, Tally, Sum)>,
    series: BTreeMap<(String, &'static str), BTreeSet<String>>,
    past_bound: BTreeSet<(String, &'static str)>,
    pub(super) limits: BTreeMap<String, Limits>,
    /// Tenants and ids of adjustments that were counted.
    adjusted: BTreeSet<(String, String)>,
    conflict_hours: BTreeSet<(String, i64)>,
    pub(super) alerts: Vec<String>,
}

impl<'a> Fold<'a> {
    pub(super) fn new(cast: &'a Cast, partition: i32) -> Self {
        Self {
            cast,
            partition,
            now_ms: 0,
            ids: BTreeMap::new(),
            usage: BTreeMap::new(),
            totals: BTreeMap::new(),
            series: BTreeMap::new(),
            past_bound: BTreeSet::new(),
            limits: BTreeMap::new(),
            adjusted: BTreeSet::new(),
            conflict_hours: BTreeSet::new(),
            alerts: Vec::new(),
        }
    }

    /// Takes the next record. `homes` says where tenants lived when it was counted, `known` whether a
    /// tenant was in the catalogue.
    pub(super) fn take(
        &mut self,
        (offset, at_ms): (i64, i64),
        reading: &Reading,
        (homes, known): (&Homes, impl FnOnce(&str) -> bool),
    ) -> End {
        let spot = Spot { partition: self.partition, offset, at_ms };
        self.time_passes(spot);
        match reading {
            Reading::Tick => End::Control,
            Reading::Garbage => End::Rejected("malformed"),
            Reading::Limits(limits, hops) => {
                let elsewhere = self.elsewhere(homes, &limits.tenant, *hops);
                elsewhere.unwrap_or_else(|| self.take_limits(spot, limits))
            }
            Reading::Adjustment(adjustment, hops) => {
                let elsewhere = self.elsewhere(homes, &adjustment.tenant, *hops);
                elsewhere.unwrap_or_else(|| self.take_adjustment(spot, adjustment, known))
            }
            Reading::Event(event) => self.take_event(spot, event, (homes, known)),
        }
    }

    /// What becomes of the record of a tenant that lives in another partition.
    fn elsewhere(&self, homes: &Homes, tenant: &str, hops: u8) -> Option<End> {
        let home = homes.of(tenant);
        let ends = || if hops < 3 { End::Forwarded(home) } else { End::Rejected("misrouted") };
        (home != self.partition).then(ends)
    }

    /// Alarms end with their period.
    fn time_passes(&mut self, spot: Spot) {
        let before = self.now_ms;
        self.now_ms = before.max(spot.at_ms);
        let over = |period: &Span| before < period.end.millis() && period.end.millis() <= self.now_ms;
        for ((tenant, meter, _), (period, tally, sum)) in &self.totals {
            let Some(limit) = self.limits.get(tenant).and_then(|limits| limits.by_meter.get(*meter)) else {
                continue;
            };
            if over(period) {
                let used = sum.nanos(*tally);
                for percent in alerts::reached(limit, used) {
                    let line = line(spot, tenant, (meter, *period), (percent, false), (limit.nanos, used));
                    self.alerts.push(line);
                }
            }
        }
    }

    fn take_limits(&mut self, spot: Spot, limits: &Limits) -> End {
        let before = self.limits.get(&limits.tenant);
        if before.is_some_and(|before| before.revision >= limits.revision) {
            return End::Control;
        }
        let none = Limit { nanos: 1, percents: Vec::new() };
        let of_tenant = self.totals.iter().filter(|((tenant, _, _), _)| *tenant == limits.tenant);
        for ((tenant, meter, _), (period, tally, sum)) in of_tenant {
            if period.end.millis() <= self.now_ms {
                continue;
            }
            let used = sum.nanos(*tally);
            let old = before.and_then(|before| before.by_meter.get(*meter)).unwrap_or(&none);
            let new = limits.by_meter.get(*meter).unwrap_or(&none);
            let fires = |limit: &Limit| alerts::reached(limit, used).collect::<BTreeSet<i128>>();
            let (was, is) = (fires(old), fires(new));
            let ceased = was.difference(&is).map(|percent| (*percent, false, old.nanos));
            for (percent, reached, of) in
                ceased.chain(is.difference(&was).map(|percent| (*percent, true, new.nanos)))
            {
                self.alerts.push(line(spot, tenant, (meter, *period), (percent, reached), (of, used)));
            }
        }
        self.limits.insert(limits.tenant.clone(), limits.clone());
        End::Control
    }

    fn take_adjustment(
        &mut self,
        spot: Spot,
        adjustment: &Adjustment,
        known: impl FnOnce(&str) -> bool,
    ) -> End {
        let Adjustment { tenant, id, time_ms, change } = adjustment;
        let name = (tenant.clone(), id.clone());
        if self.adjusted.contains(&name) {
            return End::Control;
        }
        if let Change::Void(event) = change
            && (event.id.is_empty() || event.id.chars().any(char::is_control))
        {
            return End::Rejected("invalid_event");
        }
        if *time_ms > self.now_ms + FUTURE_MS {
            return End::Rejected("in_future");
        }
        if !known(tenant) {
            return End::Rejected("unknown_tenant");
        }
        let Some(changes) = changes(change) else { return End::Rejected("invalid_value") };
        self.adjusted.insert(name);
        for (meter, value, signed) in changes {
            self.grow(spot, (tenant, &value), *time_ms, meter, &signed);
        }
        End::Control
    }

    fn take_event(
        &mut self,
        spot: Spot,
        event: &Event,
        (homes, known): (&Homes, impl FnOnce(&str) -> bool),
    ) -> End {
        if event.id.is_empty() || event.id.chars().any(char::is_control) {
            return End::Rejected("invalid_event");
        }
        if let Some(elsewhere) = self.elsewhere(homes, &event.tenant, event.hops) {
            return elsewhere;
        }
        if !known(&event.tenant) {
            return End::Rejected("unknown_tenant");
        }
        let name = (event.tenant.clone(), event.source.clone(), event.id.clone());
        if let Some(first) = self.ids.get(&name).filter(|first| self.remembers(first.arrived_ms)) {
            let same = Event { hops: event.hops, ..first.event.clone() } == *event;
            if same {
                return End::Duplicate;
            }
            if self.conflict_hours.insert((event.tenant.clone(), self.now_ms / HOUR_MS)) {
                self.alerts.push(alerts::conflict(spot, &event.tenant, &event.source, &event.id));
            }
            return End::Conflict;
        }
        let time_ms = event.time_ms.unwrap_or(spot.at_ms);
        if time_ms < self.now_ms - WINDOW_MS {
            return End::Rejected("too_late");
        }
        if time_ms > self.now_ms + FUTURE_MS {
            return End::Rejected("in_future");
        }
        let mut parts = Vec::new();
        for meter in METERS.iter().filter(|meter| meter.event_type == event.event_type) {
            match part_of(meter, event) {
                Some(part) => parts.push((meter, part)),
                None => return End::Rejected("invalid_value"),
            }
        }
        self.ids.insert(name, First { event: event.clone(), arrived_ms: self.now_ms });
        for (meter, part) in parts {
            let value = event.data.get(meter.dimension).map_or("", String::as_str);
            self.grow(spot, (&event.tenant, value), time_ms, meter, &Growth::Event(part));
        }
        End::Accepted
    }

    /// Ids are kept until nothing of the day of their arrival could be accepted any more.
    fn remembers(&self, arrived_ms: i64) -> bool {
        let day_end_ms = (arrived_ms / DAY_MS + 1) * DAY_MS;
        self.now_ms < day_end_ms + WINDOW_MS + FUTURE_MS
    }

    fn grow(
        &mut self,
        spot: Spot,
        (tenant, value): (&String, &str),
        time_ms: i64,
        meter: &MeterFacts,
        growth: &Growth,
    ) {
        let add = |sum: &mut Sum| match growth {
            Growth::Event(part) => sum.add(meter.tally, part, (time_ms, spot.offset)),
            Growth::Signed(events, nanos) => sum.adjust(*events, *nanos),
        };
        let dimensions = self.dimensions(spot, (tenant, value), meter);
        let Some(cast) = self.cast.tenants.iter().find(|cast| cast.name == *tenant) else { return };
        let past_ms = i64::from(cast.minutes) * 60_000;
        let hour_ms = (time_ms - past_ms).div_euclid(HOUR_MS) * HOUR_MS + past_ms;
        let key = (tenant.clone(), meter.key, hour_ms, dimensions);
        add(&mut self.usage.entry(key).or_insert_with(|| (meter.tally, Sum::default())).1);
        let holds = |period: &&Span| period.start.millis() <= time_ms && time_ms < period.end.millis();
        let Some(period) = cast.periods.iter().find(holds).copied() else { return };
        let total = self
            .totals
            .entry((tenant.clone(), meter.key, period.start.millis()))
            .or_insert_with(|| (period, meter.tally, Sum::default()));
        let before = total.2.nanos(meter.tally);
        add(&mut total.2);
        let after = total.2.nanos(meter.tally);
        let limit = self.limits.get(tenant).and_then(|limits| limits.by_meter.get(meter.key));
        let Some(limit) = limit.filter(|_| period.end.millis() > self.now_ms) else { return };
        let (was, is): (Vec<i128>, Vec<i128>) =
            (alerts::reached(limit, before).collect(), alerts::reached(limit, after).collect());
        let ceased = was.iter().filter(|percent| !is.contains(percent)).map(|percent| (*percent, false));
        let begun = is.iter().filter(|percent| !was.contains(percent)).map(|percent| (*percent, true));
        for crossed in ceased.chain(begun) {
            self.alerts.push(line(spot, tenant, (meter.key, period), crossed, (limit.nanos, after)));
        }
    }

    /// The dimensions under which usage is counted: past the bound, `other`.
    fn dimensions(&mut self, spot: Spot, (tenant, value): (&String, &str), meter: &MeterFacts) -> String {
        if meter.dimension.is_empty() {
            return "{}".to_owned();
        }
        let name = (tenant.clone(), meter.key);
        let known = self.series.entry(name.clone()).or_default();
        let bound = usize::try_from(self.cast.series_max).unwrap_or(0);
        if known.contains(value) || known.len() < bound {
            known.insert(value.to_owned());
            return format!("{{\"{}\":\"{value}\"}}", meter.dimension);
        }
        if self.past_bound.insert(name) {
            self.alerts.push(alerts::series(spot, tenant, meter.key, self.cast.series_max));
        }
        "{\"other\":\"true\"}".to_owned()
    }

    /// What was counted of a tenant in the period that begins then.
    pub(super) fn counted(&self, tenant: &str, period_start_ms: i64) -> Counted {
        let mut counted = Counted { now_ms: self.now_ms, ..Counted::default() };
        for meter in METERS {
            let key = (tenant.to_owned(), meter.key, period_start_ms);
            if let Some((_, tally, sum)) = self.totals.get(&key) {
                counted.meters.insert(meter.key, (sum.nanos(*tally), sum.events));
            }
        }
        counted
    }

    /// Where a tenant stands on a meter: limit, period, usage; `None` before its first period.
    pub(super) fn level(&self, tenant: &str, meter: &str) -> Option<(Option<i128>, Span, i128)> {
        let cast = self.cast.tenants.iter().find(|cast| cast.name == tenant)?;
        let period = cast.periods.iter().rev().find(|period| period.start.millis() <= self.now_ms)?;
        let limit = self.limits.get(tenant).and_then(|limits| limits.by_meter.get(meter));
        let over = period.end.millis() <= self.now_ms;
        let total = METERS
            .iter()
            .find(|facts| facts.key == meter)
            .and_then(|facts| self.totals.get(&(tenant.to_owned(), facts.key, period.start.millis())));
        let used = total.filter(|_| !over).map_or(0, |(_, tally, sum)| sum.nanos(*tally));
        Some((limit.map(|limit| limit.nanos), *period, used))
    }
}

/// What usage grows by.
enum Growth {
    Event(Part),
    /// Events and thousand-millionths.
    Signed(i64, i128),
}

/// What an adjustment changes: meters, their dimension's value, by how much; `None` where a
/// meter cannot do it.
fn changes(change: &Change) -> Option<Vec<(&'static MeterFacts, String, Growth)>> {
    match change {
        Change::Entry { meter, dimensions, events, nanos } => {
            let meter = METERS.iter().find(|facts| facts.key == meter)?;
            let known = dimensions.keys().all(|name| name == meter.dimension);
            let additive = match meter.tally {
                Tally::Count => i128::from(*events) * 1_000_000_000 == *nanos,
                Tally::Sum => true,
                _ => false,
            };
            let value = dimensions.get(meter.dimension).cloned().unwrap_or_default();
            let nanos = if meter.tally == Tally::Count { 0 } else { *nanos };
            (known && additive).then(|| vec![(meter, value, Growth::Signed(*events, nanos))])
        }
        Change::Void(event) => {
            let taking = METERS.iter().filter(|meter| meter.event_type == event.event_type);
            let change = |meter: &'static MeterFacts| {
                let value = event.data.get(meter.dimension).cloned().unwrap_or_default();
                match (meter.tally, part_of(meter, event)?) {
                    (Tally::Count, _) => Some((meter, value, Growth::Signed(-1, 0))),
                    (Tally::Sum, Part::Number(number)) => Some((meter, value, Growth::Signed(-1, -number))),
                    _ => None,
                }
            };
            taking.map(change).collect()
        }
    }
}

fn line(
    spot: Spot,
    tenant: &str,
    (meter, period): (&str, Span),
    (percent, reached): (i128, bool),
    (limit, used): (i128, i128),
) -> String {
    let period_start_ms = period.start.millis();
    alerts::crossing(spot, &Crossing { tenant, meter, period_start_ms, percent, reached, limit, used })
}

fn part_of(meter: &MeterFacts, event: &Event) -> Option<Part> {
    if meter.tally == Tally::Count {
        return Some(Part::Nothing);
    }
    let text = event.data.get(meter.property)?;
    if meter.tally == Tally::Unique {
        return Some(Part::Text(text.clone()));
    }
    let number = nanos(text)?;
    (number >= 0 || meter.negative).then_some(Part::Number(number))
}
