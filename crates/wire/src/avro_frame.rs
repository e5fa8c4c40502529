//! Confluent's framing: which schema wrote a value, in the first five bytes or in a
//! header beside it. It knows no schema.
//!
//! Registries give positive 32-bit numbers, so those with the highest bit belong to
//! nobody. They are Weir's: [`OWN_NUMBERS`] + 2 is version 2 of the schema that ships with
//! Weir, whatever registry is or was configured. It stands in the value itself, so that
//! nothing that keeps a value (forwards, dead letters, archives, replays) can lose it.

use std::fmt;

/// Numbers from here on name the schemas that ship with Weir.
pub const OWN_NUMBERS: u32 = 0x8000_0000;

/// What names a writer's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaId {
    /// A version of the schema that ships with Weir.
    Shipped(u32),
    /// A registry's number; without a registry, a version of the schema that ships with Weir.
    Number(u32),
    /// A registry's GUID, as the header form has it.
    Guid([u8; 16]),
}

impl From<u32> for SchemaId {
    /// As a frame has it.
    fn from(number: u32) -> Self {
        number.checked_sub(OWN_NUMBERS).map_or(Self::Number(number), Self::Shipped)
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shipped(version) => {
                write!(
                    f,
                    "{} (version {version} of Weir's own)",
                    u64::from(OWN_NUMBERS) + u64::from(*version)
                )
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Guid(guid) => {
                let hex = hex::encode(guid);
                let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                f.write_str(&groups.join("-"))
            }
        }
    }
}

/// A framed value, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which schema wrote the datum.
    pub schema_id: SchemaId,
    /// The datum.
    pub datum: &'a [u8],
}

/// Why bytes are not in Confluent's framing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer than the five bytes of a frame's head.
    #[error(
        "{0} bytes are too few for byte 0 and a schema id of four bytes; use the serializer of a schema registry client"
    )]
    TooShort(usize),
    /// The first byte is not 0.
    #[error(
        "the first byte is {0} where Confluent's framing has 0; use the serializer of a schema registry client"
    )]
    Magic(u8),
    /// A header that holds neither an id nor a GUID.
    #[error("the header __value_schema_id must hold byte 0 and an id, or byte 1 and a GUID")]
    Header,
}

/// Splits the prefix form: byte 0, the id (big-endian), the datum.
pub fn parse_frame(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    match bytes {
        [0, a, b, c, d, datum @ ..] => {
            Ok(Frame { schema_id: u32::from_be_bytes([*a, *b, *c, *d]).into(), datum })
        }
        [0, ..] | [] => Err(FrameError::TooShort(bytes.len())),
        [other, ..] => Err(FrameError::Magic(*other)),
    }
}

/// Reads the header form: the value of `__value_schema_id` beside the bare datum.
pub fn parse_frame_with_header<'a>(header: &[u8], datum: &'a [u8]) -> Result<Frame<'a>, FrameError> {
    let schema_id = match header {
        [0, number @ ..] => number.try_into().ok().map(|number| u32::from_be_bytes(number).into()),
        [1, guid @ ..] => guid.try_into().ok().map(SchemaId::Guid),
        _ => None,
    };
    schema_id.map(|schema_id| Frame { schema_id, datum }).ok_or(FrameError::Header)
}

/// The head of the prefix form under a version of the schema that ships with Weir.
pub(crate) fn shipped_head(version: u32) -> [u8; 5] {
    let [a, b, c, d] = (OWN_NUMBERS | version).to_be_bytes();
    [0, a, b, c, d]
}
