//! A request's body as gzip or zstd: no more comes out than is asked for, however much is in it.

use std::io::Write;

use weir_wire::packed_body::{Packing, unpack};

use crate::Seeds;
use crate::memory::within;
use crate::pieces::{Joined, Pieces};

/// The most that is taken out.
const BYTES_MAX: usize = 64 << 10;

/// Reads the rest of the input as packed bytes, and packs it.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let packing = if pieces.byte() & 1 == 0 { Packing::Gzip } else { Packing::Zstd };
    let bytes = pieces.0;
    let unpacked = within(6 * BYTES_MAX, || unpack(packing, bytes, BYTES_MAX));
    if let Ok(Some(unpacked)) = &unpacked {
        assert!(unpacked.len() <= BYTES_MAX);
        let enough = unpack(packing, bytes, unpacked.len()).expect("the same bytes");
        assert_eq!(enough.as_ref(), Some(unpacked));
        if let Some(fewer) = unpacked.len().checked_sub(1) {
            assert_eq!(unpack(packing, bytes, fewer).ok().flatten(), None, "one byte too many");
        }
    }
    let packed = pack(packing, bytes);
    assert_eq!(unpack(packing, &packed, bytes.len()).expect("packed bytes").as_deref(), Some(bytes));
}

fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).expect("memory");
            gzip.finish().expect("memory")
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).expect("memory"),
    }
}

/// A body in each packing, two members behind one another, a bomb.
pub fn seeds() -> Seeds {
    let body =
        br#"[{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"acme","data":{"calls":"3"}}]"#;
    let seed = |kind: u8, packed: &[u8]| Joined::default().byte(kind).raw(packed).0;
    let (gzip, zstd) = (pack(Packing::Gzip, body), pack(Packing::Zstd, body));
    vec![
        ("gzip".to_owned(), seed(0, &gzip)),
        ("zstd".to_owned(), seed(1, &zstd)),
        ("members".to_owned(), seed(0, &[&gzip[..], &gzip].concat())),
        ("frames".to_owned(), seed(1, &[&zstd[..], &zstd].concat())),
        ("gzip-bomb".to_owned(), seed(0, &pack(Packing::Gzip, &vec![0; 1 << 20]))),
        ("zstd-bomb".to_owned(), seed(1, &pack(Packing::Zstd, &vec![0; 1 << 20]))),
    ]
}
