//! What Weir must have counted: quantity and events by tenant and meter, added up from the events
//! that were sent. Kept as a file of lines, tenant, meter, quantity, events, parted by tabs.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use crate::error::LoadError;
use crate::profile::{Kind, meter_key, tenant_id};
use crate::stream::Event;

/// A total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The quantity in thousandths.
    pub thousandths: u64,
    /// How many events.
    pub events: u64,
}

/// Totals by tenant and meter; 16 bytes each, whatever was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    meters: u32,
    cells: Vec<Counted>,
}

/// A total that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The tenant.
    pub tenant: String,
    /// The meter.
    pub meter: String,
    /// What was sent.
    pub expected: Counted,
    /// What Weir says.
    pub found: Counted,
}

impl Totals {
    /// Nothing yet, of so many tenants and meters.
    pub fn new(tenants: u32, meters: u32) -> Self {
        let cells = u64::from(tenants) * u64::from(meters);
        Self { meters, cells: vec![Counted::default(); usize::try_from(cells).unwrap_or(0)] }
    }

    /// Adds an event that was sent, if Weir counts it.
    pub fn add(&mut self, event: &Event) {
        if event.counts {
            let at = self.at(event.tenant, event.meter);
            let cell = &mut self.cells[at];
            cell.events += 1;
            cell.thousandths += match event.kind {
                Kind::Sum => u64::from(event.thousandths),
                Kind::Count => 1_000,
            };
        }
    }

    fn at(&self, tenant: u32, meter: u32) -> usize {
        usize::try_from(u64::from(tenant) * u64::from(self.meters) + u64::from(meter)).unwrap_or(usize::MAX)
    }

    /// Adds another producer's.
    pub fn merge(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            cell.events += more.events;
            cell.thousandths += more.thousandths;
        }
    }

    /// Events that must have been counted.
    pub fn events(&self) -> u64 {
        self.cells.iter().map(|cell| cell.events).sum()
    }

    /// Tenants that have any.
    pub fn active_tenants(&self) -> usize {
        let meters = usize::try_from(self.meters).unwrap_or(1).max(1);
        self.cells.chunks(meters).filter(|tenant| tenant.iter().any(|cell| cell.events > 0)).count()
    }

    /// Every total that is not zero: tenant's number, meter's number, total.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, Counted)> {
        let meters = self.meters;
        let all = (0_u64..).zip(&self.cells).filter(|(_, cell)| cell.events > 0);
        all.map(move |(at, cell)| {
            let (tenant, meter) = (at / u64::from(meters), at % u64::from(meters));
            (u32::try_from(tenant).unwrap_or(0), u32::try_from(meter).unwrap_or(0), *cell)
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`LoadError::File`].
    pub fn write(&self, path: &Path) -> Result<(), LoadError> {
        let failed =
            |source| LoadError::File { attempt: "write expected totals to", path: path.to_owned(), source };
        let mut out = BufWriter::new(File::create(path).map_err(failed)?);
        for (tenant, meter, cell) in self.iter() {
            let (tenant, meter) = (tenant_id(tenant), meter_key(meter));
            let (whole, rest) = (cell.thousandths / 1_000, cell.thousandths % 1_000);
            writeln!(out, "{tenant}\t{meter}\t{whole}.{rest:03}\t{}", cell.events).map_err(failed)?;
        }
        out.flush().map_err(failed)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`LoadError::File`], [`LoadError::NotTotals`].
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let failed =
            |source| LoadError::File { attempt: "read expected totals from", path: path.to_owned(), source };
        let mut rows = Vec::new();
        for (at, line) in BufReader::new(File::open(path).map_err(failed)?).lines().enumerate() {
            let line = line.map_err(failed)?;
            rows.push(parse(&line).ok_or(LoadError::NotTotals { line: at + 1, text: line })?);
        }
        let most = |of: fn(&Row) -> u32| rows.iter().map(of).max().map_or(0, |most| most + 1);
        let mut totals = Self::new(most(|row| row.0), most(|row| row.1));
        for (tenant, meter, cell) in rows {
            let at = totals.at(tenant, meter);
            totals.cells[at] = cell;
        }
        Ok(totals)
    }

    /// Compares with what Weir says, in lines like the file's (the quantity with any number of
    /// decimals). What Weir knows of tenants that are not of the load is left out.
    ///
    /// # Errors
    /// [`LoadError::NotTotals`] for a line of the load that is none.
    pub fn compare<'a>(
        &self,
        found: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Difference>, LoadError> {
        let mut rest = self.clone();
        let mut differences = Vec::new();
        for (at, line) in found.into_iter().enumerate().filter(|(_, line)| line.starts_with("load-")) {
            let wrong = || LoadError::NotTotals { line: at + 1, text: line.to_owned() };
            let (tenant, meter, found) = parse(line).ok_or_else(wrong)?;
            let cell = if meter < self.meters { rest.at(tenant, meter) } else { usize::MAX };
            let expected = rest.cells.get_mut(cell).map(std::mem::take).unwrap_or_default();
            if found != expected {
                differences.push(difference(tenant, meter, expected, found));
            }
        }
        let missing =
            rest.iter().map(|(tenant, meter, cell)| difference(tenant, meter, cell, Counted::default()));
        differences.extend(missing);
        Ok(differences)
    }
}

type Row = (u32, u32, Counted);

fn difference(tenant: u32, meter: u32, expected: Counted, found: Counted) -> Difference {
    Difference { tenant: tenant_id(tenant), meter: meter_key(meter), expected, found }
}

fn parse(line: &str) -> Option<Row> {
    let mut parts = line.split('\t');
    let tenant = parts.next()?.strip_prefix("load-")?.parse().ok()?;
    let meter = parts.next()?.strip_prefix("load_")?.parse().ok()?;
    let thousandths = thousandths(parts.next()?)?;
    let events = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((tenant, meter, Counted { thousandths, events }))
}

/// A decimal in thousandths; `None` when it is none or has more digits than that.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let rest = rest.trim_end_matches('0');
    let whole: u64 = whole.parse().ok()?;
    let rest: u64 = if rest.len() <= 3 { format!("{rest:0<3}").parse().ok()? } else { return None };
    whole.checked_mul(1_000)?.checked_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        let cases = [
            ("12", Some(12_000)),
            ("0.5", Some(500)),
            ("1.234000000", Some(1_234)),
            ("1.0005", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
