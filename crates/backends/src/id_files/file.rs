//! One file: opened and checked, read from end to end for the filter, asked for suspects.
//! Only its header and index stay in memory, and it is not kept open in between.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weir_core::{Hash128, HashKey};
use weir_metering::identity::IdKey;
use weir_wire::id_file::{HEADER_BYTES, IdFileHeader, IdFileIndex};

use super::IdFilesError;

/// Blocks that are read at once from end to end: 40 to 60 kB each time.
const BLOCKS_AT_ONCE: u32 = 32;

/// A file that is whole as far as can be seen without reading its blocks.
#[derive(Debug)]
pub struct IdFile {
    path: PathBuf,
    header: IdFileHeader,
    index: IdFileIndex,
    content_sum: Hash128,
}

impl IdFile {
    /// Opens a file and checks its header, index and length.
    ///
    /// # Errors
    /// When it cannot be read, or is not a whole file of this installation.
    pub fn open(path: &Path, key: &HashKey) -> Result<Self, IdFilesError> {
        let broken = |error| IdFilesError::broken(path, error);
        let file = open(path)?;
        let mut first = [0; HEADER_BYTES];
        read(&file, path, 0, &mut first)?;
        let header = IdFileHeader::decode(key, &first).map_err(broken)?;
        let metadata = file.metadata().map_err(|error| IdFilesError::io("look at", path, error))?;
        header.check_length(metadata.len()).map_err(broken)?;
        let mut index = vec![0; header.index_bytes()];
        read(&file, path, header.index_begins(), &mut index)?;
        let index = IdFileIndex::decode(key, &header, &index).map_err(broken)?;
        let content_sum = header.content_sum(key);
        Ok(Self { path: path.to_owned(), header, index, content_sum })
    }

    /// What it says of itself.
    pub fn header(&self) -> &IdFileHeader {
        &self.header
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sum of its content.
    pub fn content_sum(&self) -> Hash128 {
        self.content_sum
    }

    /// Bytes that its index takes up in memory.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// The first 64 bits of all its keys, rising; every block is checked. Owns what it needs.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn keys(&self) -> Result<IdKeys, IdFilesError> {
        let (file, path, index) = (open(&self.path)?, self.path.clone(), self.index.clone());
        Ok(IdKeys { file, path, index, next_block: 0, keys: Vec::new().into_iter(), bytes: Vec::new() })
    }

    /// The fingerprint of each key that the file has. Keys that rise are read in one sweep.
    ///
    /// # Errors
    /// When the file cannot be read, or a block is damaged.
    pub fn find(&self, keys: impl Iterator<Item = IdKey>) -> Result<Vec<Option<u32>>, IdFilesError> {
        let file = open(&self.path)?;
        let mut bytes = Vec::new();
        let mut read_block = None;
        keys.map(|key| {
            let number = self.index.block_of(key);
            if read_block.replace(number) != Some(number) {
                let (offset, length) = self.index.place(number, number);
                bytes.resize(length, 0);
                read(&file, &self.path, offset, &mut bytes)?;
            }
            let block = self.index.block(number, &bytes);
            Ok(block.map_err(|error| IdFilesError::broken(&self.path, error))?.find(key))
        })
        .collect()
    }
}

/// The keys of a file, in order; an error is the last item.
#[derive(Debug)]
pub struct IdKeys {
    file: File,
    path: PathBuf,
    index: IdFileIndex,
    next_block: u32,
    keys: std::vec::IntoIter<u64>,
    bytes: Vec<u8>,
}

impl Iterator for IdKeys {
    type Item = Result<u64, IdFilesError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.keys.next() {
                return Some(Ok(key));
            }
            if self.next_block >= self.index.blocks() {
                return None;
            }
            if let Err(error) = self.read_blocks() {
                self.next_block = self.index.blocks();
                return Some(Err(error));
            }
        }
    }
}

impl IdKeys {
    fn read_blocks(&mut self) -> Result<(), IdFilesError> {
        let first = self.next_block;
        let last = (first + BLOCKS_AT_ONCE).min(self.index.blocks()) - 1;
        let (begin, length) = self.index.place(first, last);
        self.bytes.resize(length, 0);
        read(&self.file, &self.path, begin, &mut self.bytes)?;
        let mut keys = Vec::new();
        let mut rest = &self.bytes[..];
        for number in first..=last {
            let (_, length) = self.index.place(number, number);
            let (records, after) = rest.split_at(length);
            rest = after;
            let block = self.index.block(number, records);
            let block = block.map_err(|error| IdFilesError::broken(&self.path, error))?;
            keys.extend(block.ids().map(|id| id.key.high));
        }
        self.keys = keys.into_iter();
        self.next_block = last + 1;
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, IdFilesError> {
    File::open(path).map_err(|error| IdFilesError::io("open", path, error))
}

fn read(file: &File, path: &Path, offset: u64, bytes: &mut [u8]) -> Result<(), IdFilesError> {
    file.read_exact_at(bytes, offset).map_err(|error| IdFilesError::io("read", path, error))
}
