//! The rules of a path, segment by segment (SPIFFE-ID section 2.2).

use alloc::string::String;

use super::IdError;

/// Checks a whole path; `offset` is where it starts in the text that errors point into.
pub(super) const fn check(path: &[u8], offset: usize) -> Result<(), IdError> {
    if path.is_empty() {
        return Ok(());
    }
    if path[0] != b'/' {
        return Err(IdError::NoLeadingSlash);
    }
    if path[path.len() - 1] == b'/' {
        return Err(IdError::TrailingSlash);
    }
    let mut start = 1;
    let mut at = 1;
    while at <= path.len() {
        if at == path.len() || path[at] == b'/' {
            let (_, rest) = path.split_at(start);
            let (segment, _) = rest.split_at(at - start);
            if let Err(error) = check_segment(segment, offset + start) {
                return Err(error);
            }
            start = at + 1;
        } else if !is_path_byte(path[at]) {
            return Err(IdError::PathByte { at: offset + at });
        }
        at += 1;
    }
    Ok(())
}

/// A path of these segments, each checked to be exactly one.
pub(super) fn join<'a>(segments: impl IntoIterator<Item = &'a str>) -> Result<String, IdError> {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        let at = path.len();
        if let Some(bad) = segment.bytes().position(|byte| !is_path_byte(byte)) {
            return Err(IdError::PathByte { at: at + bad });
        }
        check_segment(segment.as_bytes(), at)?;
        path.push_str(segment);
    }
    Ok(path)
}

const fn check_segment(segment: &[u8], at: usize) -> Result<(), IdError> {
    match segment {
        b"" => Err(IdError::EmptySegment { at }),
        b"." | b".." => Err(IdError::DotSegment { at }),
        _ => Ok(()),
    }
}

const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}
