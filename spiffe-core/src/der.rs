//! DER, walked: every element is a slice of what was given, and nothing is copied.
//!
//! The one reader of DER in this crate, and no more of X.690 than certificates and keys need: tags of
//! one byte, lengths that are definite and as short as they can be, nothing behind the end that is not
//! asked for. Where an element is read and is not so, it is refused, with its place.
//!
//! What nobody asks for is stepped over: such an element has a sound tag and length, and its value may be
//! anything. In certificates that is what lies within names of subject and issuer, within algorithms, and
//! within extensions that are not read here.

use std::ops::Range;

/// What is still to be read of an input, or of one element of it.
pub(crate) struct Walk<'a> {
    rest: &'a [u8],
    /// Where `rest` begins in the input.
    at: usize,
}

/// One element: a tag, a length and a value.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    value: &'a [u8],
    at: usize,
}

/// The input is not what it should be, `at` this byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) at: usize,
}

pub(crate) type Result<T> = std::result::Result<T, Malformed>;

impl<'a> Walk<'a> {
    pub(crate) fn over(input: &'a [u8]) -> Self {
        Self { rest: input, at: 0 }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.is_finished() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Element<'a>> {
        let (header, length) = header(self.rest).ok_or(self.malformed())?;
        let split = self.rest.split_at_checked(header + length);
        let (whole, rest) = split.ok_or(self.malformed())?;
        let element = Element {
            tag: whole[0],
            whole,
            value: &whole[header..],
            at: self.at,
        };
        self.at += whole.len();
        self.rest = rest;
        Ok(element)
    }

    /// The next element, which has to have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<Element<'a>> {
        if self.is_next(tag) {
            self.any()
        } else {
            Err(self.malformed())
        }
    }

    /// The next element, if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>> {
        self.is_next(tag).then(|| self.any()).transpose()
    }

    /// What `read` makes of all that is inside of the next element, which has to have this tag.
    pub(crate) fn inside<T>(
        &mut self,
        tag: u8,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.expect(tag)?.inside(read)
    }

    fn is_next(&self, tag: u8) -> bool {
        self.rest.first() == Some(&tag)
    }

    fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }
}

/// How long the header of the first element is, and how long its value.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let (&[tag, first], more) = bytes.split_first_chunk()?;
    // Only such tags go on in the next byte.
    if tag & NUMBER == NUMBER {
        return None;
    }
    let (header, length, least) = match (first, more) {
        (0..=0x7f, _) => (2, usize::from(first), 0),
        (0x81, &[a, ..]) => (3, usize::from(a), 0x80),
        (0x82, &[a, b, ..]) => (4, usize::from(u16::from_be_bytes([a, b])), 0x100),
        (0x83, &[a, b, c, ..]) => {
            let length = u32::from_be_bytes([0, a, b, c]);
            (5, usize::try_from(length).ok()?, 0x1_0000)
        }
        // Without an end, cut off, or longer than anything that is read here.
        _ => return None,
    };
    (length >= least).then_some((header, length))
}

impl<'a> Element<'a> {
    pub(crate) fn tag(&self) -> u8 {
        self.tag
    }

    /// With tag and length.
    pub(crate) fn whole(&self) -> &'a [u8] {
        self.whole
    }

    pub(crate) fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Where it lies in the input, with tag and length.
    pub(crate) fn range(&self) -> Range<usize> {
        self.at..self.at + self.whole.len()
    }

    /// Where its value lies in the input.
    pub(crate) fn value_range(&self) -> Range<usize> {
        let end = self.range().end;
        end - self.value.len()..end
    }

    /// What `read` makes of all that is inside.
    pub(crate) fn inside<T>(&self, read: impl FnOnce(&mut Walk<'a>) -> Result<T>) -> Result<T> {
        let mut walk = Walk {
            rest: self.value,
            at: self.value_range().start,
        };
        let read = read(&mut walk)?;
        walk.finish()?;
        Ok(read)
    }

    /// Which one it is of a choice or a list of the context's own, in either form.
    pub(crate) fn number(&self) -> u8 {
        self.tag & NUMBER
    }

    /// Whether its value is made of elements, as the tag has it.
    pub(crate) fn is_constructed(&self) -> bool {
        self.tag & CONSTRUCTED != 0
    }

    /// Its value as a truth value.
    pub(crate) fn boolean(&self) -> Result<bool> {
        match self.value {
            [0] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    /// Its value as an object identifier, each number of which is as short as it can be.
    pub(crate) fn identifier(&self) -> Result<&'a [u8]> {
        let mut begins = true;
        for byte in self.value {
            if begins && *byte == 0x80 {
                return Err(self.malformed());
            }
            begins = *byte < 0x80;
        }
        match begins && !self.value.is_empty() {
            true => Ok(self.value),
            false => Err(self.malformed()),
        }
    }

    /// Its value as a string of bits.
    pub(crate) fn bits(&self) -> Result<Bits<'a>> {
        let (&unused, bytes) = self.value.split_first().ok_or(self.malformed())?;
        let last = bytes.last().copied().unwrap_or(0);
        // Those at the end that do not count are zeros, and there are none where there is no end.
        if unused > 7 || last.trailing_zeros() < unused.into() || unused > 0 && bytes.is_empty() {
            return Err(self.malformed());
        }
        Ok(Bits { unused, bytes })
    }

    /// Its value as a number that may be negative: in as few bytes as it can be.
    pub(crate) fn integer(&self) -> Result<&'a [u8]> {
        match self.value {
            [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(self.malformed()),
            number => Ok(number),
        }
    }

    /// Its value as a number that is not negative: big-endian, without leading zeros.
    pub(crate) fn unsigned(&self) -> Result<&'a [u8]> {
        match self.integer()? {
            [0x80..=0xff, ..] => Err(self.malformed()),
            [0, number @ ..] if !number.is_empty() => Ok(number),
            number => Ok(number),
        }
    }

    pub(crate) fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }
}

/// A string of bits.
pub(crate) struct Bits<'a> {
    unused: u8,
    bytes: &'a [u8],
}

impl<'a> Bits<'a> {
    /// Whether this bit is there and set; the first is number 0.
    pub(crate) fn is_set(&self, number: u8) -> bool {
        // Bits that do not count are zeros.
        let byte = self.bytes.get(usize::from(number / 8));
        byte.is_some_and(|byte| byte & (0x80 >> (number % 8)) != 0)
    }

    /// The bytes, where the bits fill them.
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        (self.unused == 0).then_some(self.bytes)
    }
}

/// Where the parts of a `SubjectPublicKeyInfo` lie in the input (RFC 5280 section 4.1).
#[derive(Debug, Clone)]
pub(crate) struct Spki {
    pub(crate) whole: Range<usize>,
    /// The content of its `AlgorithmIdentifier`.
    pub(crate) algorithm: Range<usize>,
    /// The content of its bit string: the key itself.
    pub(crate) key: Range<usize>,
}

impl Spki {
    pub(crate) fn read(walk: &mut Walk<'_>) -> Result<Self> {
        let whole = walk.expect(SEQUENCE)?;
        whole.inside(|fields| {
            let algorithm = fields.expect(SEQUENCE)?;
            let bits = fields.expect(BIT_STRING)?;
            let key = bits.bits()?.bytes().ok_or(bits.malformed())?;
            let end = bits.range().end;
            Ok(Self {
                whole: whole.range(),
                algorithm: algorithm.value_range(),
                key: end - key.len()..end,
            })
        })
    }
}

/// Writes an element.
pub(crate) fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    match &length[zeros..] {
        [] => vec![tag, 0],
        [short @ ..0x80] => [&[tag, *short], value].concat(),
        // No length takes more than eight bytes.
        long => [&[tag, 0x80 | long.len() as u8], long, value].concat(),
    }
}

/// Writes a number that is not negative, given as its bytes without leading zeros.
pub(crate) fn unsigned(number: &[u8]) -> Vec<u8> {
    match number {
        [] | [0x80..=0xff, ..] => element(INTEGER, &[&[0], number].concat()),
        _ => element(INTEGER, number),
    }
}

/// Writes a `SubjectPublicKeyInfo` of the content of its `AlgorithmIdentifier` and that of its bit string.
pub(crate) fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let key = element(BIT_STRING, &[&[0], key].concat());
    let fields = [element(SEQUENCE, algorithm), key].concat();
    element(SEQUENCE, &fields)
}

/// The tag of element `number` of a choice or a list of the context's own.
pub(crate) const fn context(number: u8) -> u8 {
    0x80 | number
}

pub(crate) const BOOLEAN: u8 = 1;
pub(crate) const INTEGER: u8 = 2;
pub(crate) const BIT_STRING: u8 = 3;
pub(crate) const OCTET_STRING: u8 = 4;
pub(crate) const OBJECT_IDENTIFIER: u8 = 6;
pub(crate) const UTC_TIME: u8 = 23;
pub(crate) const GENERALIZED_TIME: u8 = 24;
pub(crate) const SEQUENCE: u8 = CONSTRUCTED | 16;
pub(crate) const CONSTRUCTED: u8 = 0x20;
const NUMBER: u8 = 0x1f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_where_its_length_is_as_short_as_it_can_be() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let written = element(OCTET_STRING, &vec![7; length]);
            let mut walk = Walk::over(&written);
            let read = walk.expect(OCTET_STRING).unwrap();
            assert_eq!(read.value().len(), length);
            assert_eq!(
                (read.range(), read.whole()),
                (0..written.len(), &written[..])
            );
            walk.finish().unwrap();
        }
        let longest = element(OCTET_STRING, &vec![7; 0xff_ffff]);
        let read = Walk::over(&longest).any().unwrap();
        assert_eq!(read.value_range(), 5..longest.len());
        let longer = element(OCTET_STRING, &vec![7; 0x100_0000]);
        assert!(Walk::over(&longer).any().is_err());
    }

    #[test]
    fn what_is_no_der_is_refused() {
        for (why, bytes) in [
            ("empty", &[][..]),
            ("no length", &[4]),
            ("cut off", &[4, 2, 0]),
            ("cut off in its length", &[4, 0x82, 1]),
            ("without an end", &[0x30, 0x80, 0, 0]),
            ("a length of one byte in two", &[4, 0x81, 1, 0]),
            ("a length of two bytes in three", &[4, 0x82, 0, 1, 0]),
            ("a length of three bytes in four", &[4, 0x83, 0, 0, 1, 0]),
            ("a length of four bytes", &[4, 0x84, 0, 0, 0, 1, 0]),
            ("a length that says nothing", &[4, 0xff, 0]),
            ("a tag of two bytes", &[0x9f, 0x21, 0]),
        ] {
            let read = Walk::over(bytes).any().map(|_| ());
            assert_eq!(read, Err(Malformed { at: 0 }), "{why}");
        }
    }

    #[test]
    fn nothing_trails_and_the_place_is_told() {
        let read = |bytes: &[u8]| {
            let mut walk = Walk::over(bytes);
            walk.inside(SEQUENCE, |fields| fields.expect(INTEGER).map(|_| ()))?;
            walk.finish()
        };
        assert_eq!(read(&[0x30, 3, 2, 1, 5]), Ok(()));
        for (bytes, at) in [
            (&[0x30, 3, 2, 1, 5, 0][..], 5),
            (&[0x30, 4, 2, 1, 5, 0], 5),
            (&[0x30, 3, 4, 1, 5], 2),
            (&[0x30, 0], 2),
            (&[0x10, 3, 2, 1, 5], 0),
        ] {
            assert_eq!(read(bytes), Err(Malformed { at }), "{bytes:?}");
        }
    }

    #[test]
    fn values_have_one_form() {
        let read = |bytes: &'static [u8]| Walk::over(bytes).any().unwrap();
        assert_eq!(read(&[1, 1, 0]).boolean(), Ok(false));
        assert_eq!(read(&[1, 1, 0xff]).boolean(), Ok(true));
        for truth in [&[1, 0][..], &[1, 1, 1], &[1, 2, 0xff, 0xff]] {
            assert!(read(truth).boolean().is_err(), "{truth:?}");
        }
        for (number, value) in [
            (&[2, 1, 0][..], &[0][..]),
            (&[2, 1, 5], &[5]),
            (&[2, 2, 0, 0x80], &[0x80]),
        ] {
            assert_eq!(read(number).unsigned(), Ok(value));
            assert_eq!(unsigned(value), number);
        }
        for number in [&[2, 0][..], &[2, 1, 0x80], &[2, 2, 0, 5], &[2, 2, 0, 0]] {
            assert!(read(number).unsigned().is_err(), "{number:?}");
        }
        assert_eq!(read(&[2, 1, 0x80]).integer(), Ok(&[0x80][..]));
        assert_eq!(read(&[2, 2, 0xff, 0x7f]).integer(), Ok(&[0xff, 0x7f][..]));
        for number in [&[2, 0][..], &[2, 2, 0, 5], &[2, 2, 0xff, 0x80]] {
            assert!(read(number).integer().is_err(), "{number:?}");
        }
    }

    #[test]
    fn the_numbers_of_an_identifier_have_an_end_and_no_zeros_in_front() {
        let read = |bytes: &'static [u8]| Walk::over(bytes).any().unwrap().identifier();
        assert_eq!(read(&[6, 3, 0x55, 0x1d, 17]), Ok(&[0x55, 0x1d, 17][..]));
        assert_eq!(read(&[6, 3, 0x2a, 0x86, 0x48]), Ok(&[0x2a, 0x86, 0x48][..]));
        for identifier in [&[6, 0][..], &[6, 2, 0x55, 0x86], &[6, 3, 0x55, 0x80, 1]] {
            assert!(read(identifier).is_err(), "{identifier:?}");
        }
    }

    #[test]
    fn bits_that_do_not_count_are_zeros() {
        let read = |bytes: &'static [u8]| Walk::over(bytes).any().unwrap().bits();
        let some = read(&[3, 3, 4, 0x80, 0x10]).unwrap();
        let set: Vec<_> = (0..=u8::MAX).filter(|bit| some.is_set(*bit)).collect();
        assert_eq!((set, some.bytes()), (vec![0, 11], None));
        assert_eq!(read(&[3, 2, 0, 1]).unwrap().bytes(), Some(&[1][..]));
        assert_eq!(read(&[3, 1, 0]).unwrap().bytes(), Some(&[][..]));
        for bits in [&[3, 0][..], &[3, 1, 1], &[3, 2, 8, 0], &[3, 2, 1, 1]] {
            assert!(read(bits).is_err(), "{bits:?}");
        }
    }
}
