//! Raw events in ClickHouse's Native format, column by column, as the table has them. The
//! `clickhouse` crate can write rows, or columns whose every text it sends by itself; this
//! writes each column of a block as one piece of memory, with a dictionary for each that the
//! server keeps one for. Large pieces are sent as they stand, small ones together.
//!
//! A block: the number of columns and of rows, then each column's name, type and values. Numbers
//! of things are LEB128; values are little-endian.

use bytes::Bytes;
use foldhash::HashMap;

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

/// Bytes of texts in a row, about, by column: what room is made for at first.
const TEXT_ABOUT: usize = 16;
/// What is shorter than that is sent in one piece.
const PIECE_MIN: usize = 65_536;

/// A block of these rows, which are not none, in pieces. Each event is looked at once.
pub(super) fn block(rows: &[EventRow]) -> Vec<Bytes> {
    let mut columns = Columns::of(rows.len());
    rows.iter().for_each(|row| columns.push(row));
    columns.block(rows.len()).pieces
}

/// The values of each column, as far as rows were looked at.
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
    /// Columns with room for so many rows.
    fn of(rows: usize) -> Self {
        let room = |bytes: usize| Values(Vec::with_capacity(rows * bytes));
        Self {
            generations: room(size_of::<i32>()),
            partitions: room(size_of::<i32>()),
            offsets: room(size_of::<i64>()),
            broker_times: room(size_of::<i64>()),
            tenants: Dictionary::of(rows),
            sources: room(TEXT_ABOUT),
            ids: room(TEXT_ABOUT),
            types: Dictionary::of(rows),
            times: room(size_of::<i64>()),
            epochs: room(size_of::<i64>()),
            data_ends: room(size_of::<u64>()),
            data_end: 0,
            names: Dictionary::of(rows),
            values: room(TEXT_ABOUT),
        }
    }

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

    fn block(self, rows: usize) -> Block {
        let mut block = Block::default();
        block.next.number(COLUMNS_COUNT);
        block.next.number(count(rows));
        block.column("generation", "Int32", self.generations);
        block.column("partition", "Int32", self.partitions);
        block.column("offset", "Int64", self.offsets);
        block.column("broker_time", INSTANT, self.broker_times);
        block.dictionary_column("tenant", self.tenants);
        block.column("source", "String", self.sources);
        block.column("id", "String", self.ids);
        block.dictionary_column("type", self.types);
        block.column("time", INSTANT, self.times);
        block.head("data", "Map(LowCardinality(String), String)");
        block.next.word(KEYS_VERSION);
        block.values(self.data_ends);
        // Nothing follows where there is nothing.
        if self.data_end > 0 {
            block.dictionary(self.names);
            block.values(self.values);
        }
        block.column("epoch", "Int64", self.epochs);
        block.end_piece();
        block
    }
}

/// A block under way: what is large is taken as it stands.
#[derive(Default)]
struct Block {
    pieces: Vec<Bytes>,
    /// What the next piece holds so far.
    next: Values,
}

impl Block {
    fn end_piece(&mut self) {
        let piece = std::mem::take(&mut self.next).0;
        if !piece.is_empty() {
            self.pieces.push(piece.into());
        }
    }

    fn values(&mut self, values: Values) {
        if values.0.len() < PIECE_MIN {
            return self.next.bytes(&values.0);
        }
        self.end_piece();
        self.pieces.push(values.0.into());
    }

    fn head(&mut self, name: &str, of: &str) {
        self.next.text(name);
        self.next.text(of);
    }

    fn column(&mut self, name: &str, of: &str, values: Values) {
        self.head(name, of);
        self.values(values);
    }

    fn dictionary_column(&mut self, name: &str, texts: Dictionary<'_>) {
        self.head(name, "LowCardinality(String)");
        self.next.word(KEYS_VERSION);
        self.dictionary(texts);
    }

    /// Texts by their number in a dictionary, which goes before them.
    fn dictionary(&mut self, texts: Dictionary<'_>) {
        self.next.word(FOUR_BYTES | OWN_KEYS | UPDATE);
        self.next.word(count(texts.keys.len()));
        texts.keys.iter().for_each(|key| self.next.text(key));
        self.next.word(count(texts.used.0.len() / size_of::<u32>()));
        self.values(texts.used);
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
    used: Values,
}

impl<'t> Dictionary<'t> {
    /// An empty one with room for so many texts.
    fn of(texts: usize) -> Self {
        let (keys, numbers) = (vec![""], HashMap::from_iter([("", 0)]));
        let used = Values(Vec::with_capacity(texts * size_of::<u32>()));
        Self { keys, numbers, after: vec![0], last: 0, used }
    }

    fn push(&mut self, text: &'t str) {
        let at = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let guess = self.after[self.last];
        let number = if self.keys[at(guess)] == text { guess } else { self.look_up(text) };
        self.after[self.last] = number;
        self.last = at(number);
        self.used.bytes(&number.to_le_bytes());
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
