//! Raw events in ClickHouse's Native format, column by column, as the table has them. The
//! `clickhouse` crate can write rows, or columns whose every text it sends by itself; this
//! writes a block of events as one piece of memory, with a dictionary for each column that the
//! server keeps one for.
//!
//! A block: the number of columns and of rows, then each column's name, type and values. Numbers
//! of things are LEB128; values are little-endian.

use std::collections::HashMap;

use super::EventRow;

/// The columns that are written, in this order.
pub(super) const COLUMNS: &str =
    "generation, partition, offset, broker_time, tenant, source, id, type, time, data, epoch";
const COLUMNS_COUNT: u64 = 11;

const INSTANT: &str = "DateTime64(3, 'UTC')";
/// A dictionary of the block's own, with keys beside it: the only form that is sent.
const KEYS_VERSION: u64 = 1;
/// The block has keys of its own.
const OWN_KEYS: u64 = 1 << 9;
/// The server's dictionary is to take them in.
const UPDATE: u64 = 1 << 10;
/// Numbers of keys have four bytes.
const FOUR_BYTES: u64 = 2;

/// A block of these rows, which are not none. Each event is looked at once.
pub(super) fn block(rows: &[EventRow]) -> Vec<u8> {
    let mut columns = Columns::default();
    rows.iter().for_each(|row| columns.push(row));
    columns.block(rows.len())
}

/// The values of each column, as far as rows were looked at.
#[derive(Default)]
struct Columns<'t> {
    generations: Values,
    partitions: Values,
    offsets: Values,
    broker_times: Values,
    tenants: Dictionary<'t>,
    sources: Values,
    ids: Values,
    types: Dictionary<'t>,
    times: Values,
    epochs: Values,
    /// Where each row's members of `data` end.
    data_ends: Values,
    data_end: u64,
    names: Dictionary<'t>,
    values: Values,
}

impl<'t> Columns<'t> {
    fn push(&mut self, row: &'t EventRow) {
        let event = row.event();
        self.generations.bytes(&row.position.generation.to_le_bytes());
        self.partitions.bytes(&row.position.partition.to_le_bytes());
        self.offsets.bytes(&row.position.offset.to_le_bytes());
        self.broker_times.bytes(&row.broker_time.millis().to_le_bytes());
        self.tenants.push(event.tenant());
        self.sources.text(event.source());
        self.ids.text(event.id());
        self.types.push(event.event_type());
        self.times.bytes(&event.time_or(row.broker_time).millis().to_le_bytes());
        self.epochs.bytes(&row.epoch.to_le_bytes());
        for (name, value) in event.data() {
            self.names.push(name);
            self.values.text(value);
            self.data_end += 1;
        }
        self.data_ends.word(self.data_end);
    }

    fn block(self, rows: usize) -> Vec<u8> {
        let values = [&self.generations, &self.partitions, &self.offsets, &self.broker_times, &self.sources];
        let more = [&self.ids, &self.times, &self.epochs, &self.data_ends, &self.values];
        let bytes: usize = values.into_iter().chain(more).map(|column| column.0.len()).sum();
        let mut block = Values(Vec::with_capacity(bytes + rows * size_of::<u32>() * 6 + 65_536));
        block.number(COLUMNS_COUNT);
        block.number(count(rows));
        block.column("generation", "Int32", &self.generations);
        block.column("partition", "Int32", &self.partitions);
        block.column("offset", "Int64", &self.offsets);
        block.column("broker_time", INSTANT, &self.broker_times);
        block.dictionary_column("tenant", &self.tenants);
        block.column("source", "String", &self.sources);
        block.column("id", "String", &self.ids);
        block.dictionary_column("type", &self.types);
        block.column("time", INSTANT, &self.times);
        block.head("data", "Map(LowCardinality(String), String)");
        block.word(KEYS_VERSION);
        block.bytes(&self.data_ends.0);
        // Nothing follows where there is nothing.
        if self.data_end > 0 {
            block.dictionary(&self.names);
            block.bytes(&self.values.0);
        }
        block.column("epoch", "Int64", &self.epochs);
        block.0
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Values behind one another.
#[derive(Default)]
struct Values(Vec<u8>);

impl Values {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or_default());
    }

    fn word(&mut self, word: u64) {
        self.bytes(&word.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(count(text.len()));
        self.bytes(text.as_bytes());
    }

    fn head(&mut self, name: &str, of: &str) {
        self.text(name);
        self.text(of);
    }

    fn column(&mut self, name: &str, of: &str, values: &Values) {
        self.head(name, of);
        self.bytes(&values.0);
    }

    fn dictionary_column(&mut self, name: &str, texts: &Dictionary<'_>) {
        self.head(name, "LowCardinality(String)");
        self.word(KEYS_VERSION);
        self.dictionary(texts);
    }

    /// Texts by their number in a dictionary, which goes before them.
    fn dictionary(&mut self, texts: &Dictionary<'_>) {
        self.word(FOUR_BYTES | OWN_KEYS | UPDATE);
        self.word(count(texts.keys.len()));
        texts.keys.iter().for_each(|key| self.text(key));
        self.word(count(texts.used.len()));
        texts.used.iter().for_each(|number| self.bytes(&number.to_le_bytes()));
    }
}

/// Texts of which many are the same.
struct Dictionary<'t> {
    /// Different ones, by number. The first is the empty one, as the server has it.
    keys: Vec<&'t str>,
    numbers: HashMap<&'t str, u32>,
    /// By number, which text came after it last: the names of an event's data come in the same
    /// order again and again.
    after: Vec<u32>,
    last: usize,
    /// The number of each text that was pushed.
    used: Vec<u32>,
}

impl Default for Dictionary<'_> {
    fn default() -> Self {
        let (keys, numbers) = (vec![""], HashMap::from([("", 0)]));
        Self { keys, numbers, after: vec![0], last: 0, used: Vec::new() }
    }
}

impl<'t> Dictionary<'t> {
    fn push(&mut self, text: &'t str) {
        let at = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let guess = self.after[self.last];
        let number = if self.keys[at(guess)] == text { guess } else { self.look_up(text) };
        self.after[self.last] = number;
        self.last = at(number);
        self.used.push(number);
    }

    fn look_up(&mut self, text: &'t str) -> u32 {
        let next = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.keys.push(text);
            self.after.push(0);
        }
        number
    }
}
