//! Files in a folder of their own: written, found again, damaged, swept.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use weir_core::{HashKey, Timestamp};
use weir_metering::identity::{Day, IdKey, RememberedId, SealedFile};

use super::*;

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("weir-ids-{}", uuid::Uuid::new_v4().simple())))
    }

    fn files(&self) -> IdFiles {
        IdFiles::new(&self.0, key()).unwrap()
    }

    fn names(&self, partition: Partition) -> Vec<String> {
        let paths = list(&self.0.join(partition_folder(partition))).unwrap();
        let mut names: Vec<_> =
            paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        names.retain(|name| name != "held");
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key() -> HashKey {
    HashKey::new([3; 16])
}

fn id(number: u32) -> RememberedId {
    let high = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    RememberedId { key: IdKey { high, low: number }, fingerprint: number }
}

fn bucket(from: i64, ids: u32) -> (SealedFile, Vec<RememberedId>) {
    let start = u32::try_from(from).unwrap();
    let mut sorted: Vec<_> = (start..start + ids).map(id).collect();
    sorted.sort();
    let day = Day::of(Timestamp::clamped(1_772_409_600_000));
    (SealedFile { from, to: from + i64::from(ids), day, ids: u64::from(ids) }, sorted)
}

fn write(files: &mut PartitionFiles, from: i64, ids: u32) -> RecordedFile {
    let (covers, ids) = bucket(from, ids);
    files.write(&covers, ids.into_iter()).unwrap()
}

/// All keys of a partition's files, as the filter reads them.
fn read_all(files: &PartitionFiles) -> Result<Vec<u64>, IdFilesError> {
    let all = files.keys(&files.covered())?;
    all.into_iter().flat_map(|(_, keys)| keys).collect()
}

#[test]
fn what_was_recorded_is_found_again_and_the_rest_is_deleted() {
    let folder = Folder::new();
    let mut files = folder.files().of_partition((7, 2), &[]).unwrap();
    let recorded = [write(&mut files, 0, 500), write(&mut files, 500, 20_000)];
    write(&mut files, 30_000, 10);
    std::fs::write(folder.0.join("partition-00007/g2-x.part"), b"half").unwrap();
    assert_eq!(folder.names(7).len(), 4);

    let mut again = folder.files().of_partition((7, 2), &recorded).unwrap();
    assert_eq!(again.trouble(), Vec::<String>::new());
    assert_eq!(again.covered(), recorded.map(|file| file.covers));
    assert_eq!(folder.names(7).len(), 2);
    let mut expected: Vec<_> = (0..500).map(|n| id(n).key.high).collect();
    expected.sort();
    let mut second: Vec<_> = (500..20_500).map(|n| id(n).key.high).collect();
    second.sort();
    expected.extend(second);
    assert_eq!(read_all(&again).unwrap(), expected);
    let asked = [id(0), id(499), id(500)].map(|id| id.key);
    assert_eq!(again.file(0).unwrap().find(asked.into_iter()).unwrap(), [Some(0), Some(499), None]);

    again.retain(&[recorded[1].covers]).unwrap();
    assert_eq!((again.covered(), folder.names(7).len()), (vec![recorded[1].covers], 1));
    let other_generation = folder.files().of_partition((7, 3), &recorded).unwrap();
    assert_eq!((other_generation.covered(), folder.names(7).len()), (vec![], 0));
}

#[test]
fn a_lost_future_is_not_found_although_the_file_is_whole() {
    let folder = Folder::new();
    let mut files = folder.files().of_partition((7, 2), &[]).unwrap();
    let (covers, mut ids) = bucket(0, 500);
    files.write(&covers, ids.iter().copied()).unwrap();
    // The same offsets, counted otherwise after the ledger was restored on another machine.
    ids[3].fingerprint += 1;
    let elsewhere = Folder::new();
    let mut other = elsewhere.files().of_partition((7, 2), &[]).unwrap();
    let recorded = other.write(&covers, ids.into_iter()).unwrap();
    let back = folder.files().of_partition((7, 2), &[recorded]).unwrap();
    assert_eq!((back.covered(), folder.names(7).len()), (vec![], 0));
}

#[test]
fn damage_is_said_in_words_wherever_it_is() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 5] = [
        ("does not begin as", |bytes| bytes[0] = 0),
        ("belongs to another installation", |bytes| bytes[9] ^= 1),
        ("its header is damaged", |bytes| bytes[50] ^= 1),
        ("bytes and should have", |bytes| bytes.truncate(4_000)),
        ("its index is damaged", |bytes| *bytes.last_mut().unwrap() ^= 1),
    ];
    for (words, damage) in cases {
        let folder = Folder::new();
        let mut files = folder.files().of_partition((7, 2), &[]).unwrap();
        let recorded = write(&mut files, 0, 500);
        let path = files.file(0).unwrap().path().to_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let mut again = folder.files().of_partition((7, 2), &[recorded]).unwrap();
        let trouble = again.trouble();
        assert!(trouble.len() == 1 && trouble[0].contains(words), "{trouble:?} without {words:?}");
        assert_eq!((again.covered(), folder.names(7).len()), (vec![], 0));
    }
}

#[test]
fn a_damaged_block_is_noticed_when_it_is_read_and_the_file_can_be_discarded() {
    let folder = Folder::new();
    let mut files = folder.files().of_partition((7, 2), &[]).unwrap();
    let recorded = write(&mut files, 0, 500);
    let path = files.file(0).unwrap().path().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER_AND_SOME] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut again = folder.files().of_partition((7, 2), &[recorded]).unwrap();
    let error = read_all(&again).unwrap_err();
    assert!(error.to_string().contains("block 0 is damaged"), "{error}");
    assert!(again.discard(&error).unwrap() && !again.discard(&error).unwrap());
    assert_eq!((again.covered(), folder.names(7).len()), (vec![], 0));
}

/// A byte of the first block's first record.
const HEADER_AND_SOME: usize = 130;

#[test]
fn nothing_is_left_of_a_file_that_could_not_be_written() {
    let folder = Folder::new();
    let mut files = folder.files().of_partition((7, 2), &[]).unwrap();
    let (covers, ids) = bucket(0, 500);
    let error = files.write(&covers, ids.into_iter().take(499)).unwrap_err();
    assert!(error.to_string().contains("499 ids were given for a file of 500"), "{error}");
    assert_eq!((files.covered(), folder.names(7).len()), (vec![], 0));
}

#[test]
fn files_of_partitions_that_moved_away_are_kept_within_bounds() {
    let folder = Folder::new();
    let all = folder.files();
    for partition in 0..4 {
        let mut files = all.of_partition((partition, 1), &[]).unwrap();
        write(&mut files, 0, 1_000);
        let age = Duration::from_hours(10 * u64::try_from(partition).unwrap());
        let mark = folder.0.join(partition_folder(partition)).join("held");
        let mark = std::fs::File::options().append(true).open(mark).unwrap();
        mark.set_modified(SystemTime::now() - age).unwrap();
    }
    let each = 1_000 * 15 + 128 + 256 * 12;
    let ago = |hours| SystemTime::now() - Duration::from_hours(hours);
    let left = || (0..4).map(|partition| folder.names(partition).len()).collect::<Vec<_>>();
    assert_eq!(all.sweep(ago(25), u64::MAX).unwrap(), Swept { deleted: 1, bytes_left: 2 * each });
    assert_eq!(all.sweep(ago(25), each + 5).unwrap(), Swept { deleted: 1, bytes_left: each });
    assert_eq!(left(), [1, 1, 0, 0]);
    // What another process says it holds is left alone, whatever the bounds.
    all.hold(&BTreeSet::from([1, 3])).unwrap();
    assert_eq!(all.sweep(SystemTime::now(), 0).unwrap(), Swept::default());
    assert_eq!(left(), [1, 1, 0, 0]);
}
