//! One header block (RFC 7541) whose `:authority` is made one that a URI may have.
//!
//! The block is walked, not decoded: only the value of `:authority` is ever looked into, and all
//! other bytes go through as they came. So there is no second dynamic table here, nothing to blow
//! up with a small block, and every judgement about headers stays with the HTTP/2 server.

use http::uri::Authority;
use loona_hpack::huffman::HuffmanDecoder;

/// What must be remembered from block to block of one connection.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Which of the last 128 entries of the client's dynamic table are called `:authority`, the
    /// newest in the lowest bit. A table of 4096 bytes, HTTP/2's default, holds no more: an entry
    /// counts 32 bytes and its text.
    called_authority: u128,
}

impl Blocks {
    /// Appends the block to `out`, with a value of `:authority` that can be parsed.
    ///
    /// From the first field on that cannot be followed all goes through as it is: the server will
    /// refuse it, and knows how.
    pub(super) fn rewrite(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let mut rest = block;
        let mut met = false;
        while let Some((field, after)) = Field::read(rest) {
            let whole = &rest[..rest.len() - after.len()];
            match field {
                Field::Literal(literal) => {
                    let is_authority = self.is_authority(&literal.name);
                    match literal.value.as_authority(literal.indexing) {
                        // A second `:authority` is for the server to refuse. Looking at the first
                        // only bounds what a block can cost.
                        Some(better) if is_authority && !met => {
                            out.extend_from_slice(&whole[..literal.value_at]);
                            write_text(better, out);
                        }
                        _ => out.extend_from_slice(whole),
                    }
                    met |= is_authority;
                    if literal.indexing {
                        self.called_authority =
                            self.called_authority << 1 | u128::from(is_authority);
                    }
                }
                Field::Other => out.extend_from_slice(whole),
            }
            rest = after;
        }
        out.extend_from_slice(rest);
    }

    fn is_authority(&self, name: &Name<'_>) -> bool {
        match name {
            Name::Indexed(1) => true,
            Name::Indexed(index) => index
                .checked_sub(FIRST_DYNAMIC)
                .and_then(|age| u32::try_from(age).ok())
                .and_then(|age| self.called_authority.checked_shr(age))
                .is_some_and(|entries| entries & 1 == 1),
            Name::Literal(text) if text.huffman => text.octets == AUTHORITY_IN_HUFFMAN,
            Name::Literal(text) => text.octets == b":authority",
        }
    }
}

/// One representation of a header field (RFC 7541 section 6).
enum Field<'a> {
    Literal(Literal<'a>),
    /// An indexed field or a change of the table's size: nothing that names a value.
    Other,
}

struct Literal<'a> {
    name: Name<'a>,
    value: Text<'a>,
    /// Whether it goes into the dynamic table.
    indexing: bool,
    /// Where the value begins.
    value_at: usize,
}

enum Name<'a> {
    Indexed(usize),
    Literal(Text<'a>),
}

struct Text<'a> {
    huffman: bool,
    octets: &'a [u8],
}

impl<'a> Field<'a> {
    /// The first field of these bytes and what follows it, or `None` where they hold no whole one.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let first = *bytes.first()?;
        let (indexing, prefix) = match first {
            0b1000_0000.. => return Some((Self::Other, integer(bytes, 7)?.1)),
            0b0100_0000.. => (true, 6),
            0b0010_0000.. => return Some((Self::Other, integer(bytes, 5)?.1)),
            _ => (false, 4),
        };
        let (index, rest) = integer(bytes, prefix)?;
        let (name, rest) = match index {
            0 => text(rest).map(|(name, rest)| (Name::Literal(name), rest))?,
            index => (Name::Indexed(index), rest),
        };
        let value_at = bytes.len() - rest.len();
        let (value, rest) = text(rest)?;
        let literal = Literal {
            name,
            value,
            indexing,
            value_at,
        };
        Some((Self::Literal(literal), rest))
    }
}

impl Text<'_> {
    /// What to say instead of this value, or `None` where it is an authority already.
    fn as_authority(&self, indexing: bool) -> Option<&'static [u8]> {
        let length = match self.huffman {
            // Longer than any socket's path could make it, so not worth decoding, and longer than
            // its replacement whatever it says.
            true if self.octets.len() > LONGEST_AUTHORITY => usize::MAX,
            true => {
                // What cannot be decoded is for the server to refuse.
                let value = HuffmanDecoder::new().decode(self.octets).ok()?;
                value_is_bad(&value).then_some(value.len())?
            }
            false => value_is_bad(self.octets).then_some(self.octets.len())?,
        };
        // In the dynamic table it must not take more room than the client believes, or the server
        // would drop entries that the client still refers to. Any beginning of `localhost` is a
        // name.
        let room = if indexing { length.max(1) } else { usize::MAX };
        Some(&LOCALHOST[..LOCALHOST.len().min(room)])
    }
}

fn value_is_bad(value: &[u8]) -> bool {
    value.len() > LONGEST_AUTHORITY || Authority::try_from(value).is_err()
}

/// An integer with a prefix of this many bits (RFC 7541 section 5.1). More than five octets never
/// are one.
fn integer(bytes: &[u8], prefix: u32) -> Option<(usize, &[u8])> {
    let mask = 0xff_u8 >> (8 - prefix);
    let (first, mut rest) = bytes.split_first()?;
    let mut value = usize::from(first & mask);
    if value < usize::from(mask) {
        return Some((value, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (octet, after) = rest.split_first()?;
        value += usize::from(octet & 0x7f) << shift;
        rest = after;
        if octet & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// A string (RFC 7541 section 5.2).
fn text(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let huffman = bytes.first()? & 0x80 != 0;
    let (length, rest) = integer(bytes, 7)?;
    let (octets, rest) = rest.split_at_checked(length)?;
    Some((Text { huffman, octets }, rest))
}

/// A string in plain octets, short enough for a length of one octet.
fn write_text(text: &'static [u8], out: &mut Vec<u8>) {
    out.push(text.len() as u8);
    out.extend_from_slice(text);
}

const LOCALHOST: &[u8] = b"localhost";

/// The path of a socket has at most 108 bytes, and each may be percent-encoded as three.
const LONGEST_AUTHORITY: usize = 512;

/// The static table ends at 61.
const FIRST_DYNAMIC: usize = 62;

/// There is one encoding of a text only, because the padding is fixed.
const AUTHORITY_IN_HUFFMAN: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

#[cfg(test)]
mod tests {
    use loona_hpack::Decoder;

    use super::*;

    /// Literal with indexing, name from the static table.
    fn indexed_authority(value: &[u8]) -> Vec<u8> {
        let mut block = vec![0x41, value.len() as u8];
        block.extend_from_slice(value);
        block
    }

    fn rewritten(blocks: &mut Blocks, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        blocks.rewrite(block, &mut out);
        out
    }

    fn authority_of(block: &[u8]) -> String {
        let fields = Decoder::new().decode(block).unwrap();
        let (_, value) = fields.iter().find(|(n, _)| n == b":authority").unwrap();
        String::from_utf8(value.clone()).unwrap()
    }

    #[test]
    fn a_path_becomes_localhost_and_a_name_stays() {
        for (value, expected) in [
            ("%2Ftmp%2Fspire-agent%2Fpublic%2Fapi.sock", "localhost"),
            ("/tmp/spire-agent/public/api.sock", "localhost"),
            ("/a.sock", "localho"),
            ("", "l"),
            ("localhost", "localhost"),
            ("127.0.0.1:8081", "127.0.0.1:8081"),
            ("[::1]:8081", "[::1]:8081"),
            ("spire_agent", "spire_agent"),
        ] {
            let out = rewritten(&mut Blocks::default(), &indexed_authority(value.as_bytes()));
            assert_eq!(authority_of(&out), expected, "{value}");
            assert!(Authority::try_from(expected).is_ok(), "{value}");
        }
    }

    #[test]
    fn each_way_to_write_the_name_is_known() {
        let value = b"\x0a/some/path";
        let raw_name = [&[0x40, 10][..], b":authority", value].concat();
        let huffman_name = [&[0x40, 0x88][..], AUTHORITY_IN_HUFFMAN, value].concat();
        let not_indexed = [&[0x01][..], value].concat();
        let never_indexed = [&[0x11][..], value].concat();
        for block in [raw_name, huffman_name, not_indexed, never_indexed] {
            let out = rewritten(&mut Blocks::default(), &block);
            assert_eq!(out[0], block[0], "the representation stays as it is");
            assert_eq!(authority_of(&out), "localhost", "{block:x?}");
        }
    }

    #[test]
    fn a_value_in_huffman_code_is_read() {
        // `/x` and `localhost`, as section 5.2 and appendix B have it.
        let path = [0x41, 0x82, 0x63, 0xcf];
        let name = [0x41, 0x86, 0xa0, 0xe4, 0x1d, 0x13, 0x9d, 0x09];
        assert_eq!(authority_of(&path), "/x");
        assert_eq!(authority_of(&name), "localhost");
        assert_eq!(
            authority_of(&rewritten(&mut Blocks::default(), &path)),
            "lo"
        );
        assert_eq!(rewritten(&mut Blocks::default(), &name), name);
    }

    #[test]
    fn a_name_from_the_dynamic_table_is_followed() {
        let mut blocks = Blocks::default();
        let mut server = Decoder::new();
        let first = [&indexed_authority(b"/a/long/path")[..], b"\x40\x01x\x01y"].concat();
        let fields = server.decode(&rewritten(&mut blocks, &first)).unwrap();
        assert_eq!(fields[0].1, b"localhost");

        // 63 is the authority now, 62 is `x`; then a new value under the name at 63.
        let second = [0xbf, 0xbe, 0x7f, 0x00, 0x05, b'/', b'b', b'/', b'c', b'/'];
        let out = rewritten(&mut blocks, &second);
        let fields = server.decode(&out).unwrap();
        assert_eq!(
            fields[0].1, b"localhost",
            "the replaced value is remembered"
        );
        assert_eq!(fields[1], (b"x".to_vec(), b"y".to_vec()));
        assert_eq!(fields[2], (b":authority".to_vec(), b"local".to_vec()));
    }

    #[test]
    fn the_table_never_grows_beyond_what_the_client_believes() {
        // The client fills its table to the last byte and refers to the oldest entry.
        let mut blocks = Blocks::default();
        let mut server = Decoder::new();
        let mut filled = indexed_authority(b"/x");
        let mut size = 32 + 10 + 2;
        while size + 34 <= 4096 {
            let last = if 4096 - size < 68 {
                4096 - size - 33
            } else {
                1
            };
            filled.extend_from_slice(&[0x40, 1, b'k', last as u8]);
            filled.extend(std::iter::repeat_n(b'v', last));
            size += 33 + last;
        }
        assert_eq!(size, 4096);
        server.decode(&rewritten(&mut blocks, &filled)).unwrap();
        let entries = 1 + (4096 - 44) / 34;
        let mut oldest = vec![0xff];
        let mut index = FIRST_DYNAMIC + entries - 1 - 127;
        while index >= 128 {
            oldest.push((index % 128) as u8 | 0x80);
            index /= 128;
        }
        oldest.push(index as u8);
        let fields = server.decode(&rewritten(&mut blocks, &oldest)).unwrap();
        assert_eq!(fields, [(b":authority".to_vec(), b"lo".to_vec())]);
    }

    #[test]
    fn what_cannot_be_followed_goes_through_untouched() {
        for block in [
            &b"\x41"[..],
            b"\x41\x7f\xff\xff\xff\xff\xff",
            b"\x41\x05/a",
            b"\x3f",
            b"\xff\x80\x80\x80\x80\x80",
            b"\x41\x81\x00",
            b"\x7f\xff\xff\xff\x7f\x01/",
        ] {
            assert_eq!(
                rewritten(&mut Blocks::default(), block),
                block,
                "{block:x?}"
            );
        }
    }

    #[test]
    fn a_second_authority_is_left_for_the_server_to_refuse() {
        let block = [
            indexed_authority(b"/aaaaaaaa"),
            indexed_authority(b"/bbbbbbbb"),
        ]
        .concat();
        let expected = [
            indexed_authority(b"localhost"),
            indexed_authority(b"/bbbbbbbb"),
        ]
        .concat();
        assert_eq!(rewritten(&mut Blocks::default(), &block), expected);
    }
}
