//! Unsigned LEB128 and zigzag, up to 128 bits, and a reader that never runs past its end.

/// Bytes that end early, or a number that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

/// Appends `value`, seven bits a byte, low bits first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u128) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a length or an index.
pub(crate) fn put_size(out: &mut Vec<u8>, value: usize) {
    put(out, u128::try_from(value).unwrap_or(u128::MAX));
}

/// Appends a signed number so that small magnitudes are short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i128) {
    put(out, zigzag(value));
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_size(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn zigzag(value: i128) -> u128 {
    let doubled = value.unsigned_abs().wrapping_mul(2);
    if value < 0 { doubled.wrapping_sub(1) } else { doubled }
}

fn unzigzag(value: u128) -> i128 {
    let half = i128::try_from(value >> 1).unwrap_or(i128::MAX);
    if value & 1 == 0 { half } else { -half - 1 }
}

/// What is left of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Cut> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Cut)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> Result<u8, Cut> {
        Ok(self.take(1)?[0])
    }

    /// The next unsigned number; refuses one that does not fit, or is longer than it need be.
    pub(crate) fn number(&mut self) -> Result<u128, Cut> {
        let mut value = 0_u128;
        let mut shift = 0_u32;
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || (shift == 126 && bits > 3) || (shift > 0 && byte == 0) {
                return Err(Cut);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// The next signed number.
    pub(crate) fn signed(&mut self) -> Result<i128, Cut> {
        self.number().map(unzigzag)
    }

    /// The next length or index.
    pub(crate) fn size(&mut self) -> Result<usize, Cut> {
        usize::try_from(self.number()?).map_err(|_| Cut)
    }

    /// How many items follow, each at least one byte long: never more than there are bytes.
    pub(crate) fn count(&mut self) -> Result<usize, Cut> {
        let count = self.size()?;
        if count > self.0.len() { Err(Cut) } else { Ok(count) }
    }

    /// A length and that many bytes.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Cut> {
        let length = self.size()?;
        self.take(length)
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Cut> {
        if self.0.is_empty() { Ok(()) } else { Err(Cut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u128, signed: i128, shift in 0_u32..128) {
            let mut out = Vec::new();
            put(&mut out, unsigned >> shift);
            put_signed(&mut out, signed >> shift);
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.number(), Ok(unsigned >> shift));
            prop_assert_eq!(reader.signed(), Ok(signed >> shift));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            while reader.number().is_ok() {}
        }
    }

    #[test]
    fn the_largest_fit_and_what_is_larger_does_not() {
        let mut out = Vec::new();
        put(&mut out, u128::MAX);
        put_signed(&mut out, i128::MIN);
        let mut reader = Reader(&out);
        assert_eq!((reader.number(), reader.signed()), (Ok(u128::MAX), Ok(i128::MIN)));
        let mut over = [0xff_u8; 19];
        over[18] = 0x04;
        assert_eq!(Reader(&over).number(), Err(Cut));
    }
}
