use std::iter::repeat_n;

use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
}

/// Literals with indexing for `:authority`, and an indexed `:method`.
fn block(authority: &str) -> Vec<u8> {
    [
        &[0x83, 0x41, authority.len() as u8][..],
        authority.as_bytes(),
    ]
    .concat()
}

/// What goes through, behind the preface.
fn handed_on(frames: &[Vec<u8>]) -> Result<Vec<u8>, FramesError> {
    let mut out = Vec::new();
    let input = [&[PREFACE.to_vec()], frames].concat().concat();
    Frames::default().push(&input, &mut out)?;
    Ok(out.split_off(PREFACE.len()))
}

const PATH: &str = "%2Frun%2Fspire%2Fapi.sock";
const SETTINGS: u8 = 0x4;
const DATA: u8 = 0x0;

#[test]
fn only_header_blocks_change() {
    let settings = frame(SETTINGS, 0, &[0, 3, 0, 0, 0, 100]);
    let data = frame(DATA, 1, &[7; 20_000]);
    let out = handed_on(&[
        settings.clone(),
        frame(HEADERS, END_HEADERS, &block(PATH)),
        data.clone(),
    ])
    .unwrap();
    let rewritten = frame(HEADERS, END_HEADERS, &block("localhost"));
    assert_eq!(out, [settings, rewritten, data].concat());
}

#[test]
fn a_valid_authority_is_handed_on_byte_for_byte() {
    let request = frame(HEADERS, END_HEADERS | 1, &block("localhost:8081"));
    assert_eq!(handed_on(std::slice::from_ref(&request)).unwrap(), request);
}

#[test]
fn what_is_no_http2_goes_through() {
    let text = b"GET / HTTP/1.1\r\nhost: /tmp/x.sock\r\n\r\n";
    let mut out = Vec::new();
    Frames::default().push(text, &mut out).unwrap();
    assert_eq!(out, text);
}

#[test]
fn a_block_in_several_frames_is_handed_on_as_one() {
    let block_in = block(PATH);
    let (first, rest) = block_in.split_at(4);
    let (second, third) = rest.split_at(5);
    let out = handed_on(&[
        frame(HEADERS, 1, first),
        frame(CONTINUATION, 0, second),
        frame(CONTINUATION, 0, third),
        frame(CONTINUATION, END_HEADERS, &[]),
    ]);
    let expected = frame(HEADERS, END_HEADERS | 1, &block("localhost"));
    assert_eq!(out.unwrap(), expected);
}

#[test]
fn padding_goes_and_priority_stays() {
    let priority = [0, 0, 0, 0, 15];
    let padded = [&[7][..], &priority, &block(PATH), &[0; 7]].concat();
    let out = handed_on(&[frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &padded)]);
    let plain = [&priority[..], &block("localhost")].concat();
    assert_eq!(out.unwrap(), frame(HEADERS, END_HEADERS | PRIORITY, &plain));
}

#[test]
fn reads_split_at_every_byte_give_the_same() {
    let padded = [&[3][..], &block(PATH), &[0; 3]].concat();
    let input = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, &[]),
        frame(HEADERS, PADDED, &padded),
        frame(CONTINUATION, END_HEADERS, &[0x84]),
        frame(DATA, 0, b"abc"),
        frame(HEADERS, END_HEADERS, &[0xbe]),
    ]
    .concat();
    let mut whole = Vec::new();
    Frames::default().push(&input, &mut whole).unwrap();

    for at in 0..=input.len() {
        let (before, after) = input.split_at(at);
        let mut frames = Frames::default();
        let mut out = Vec::new();
        frames.push(before, &mut out).unwrap();
        frames.push(after, &mut out).unwrap();
        assert_eq!(out, whole, "cut at {at}");
    }
    let mut frames = Frames::default();
    let mut out = Vec::new();
    for byte in &input {
        frames.push(&[*byte], &mut out).unwrap();
    }
    assert_eq!(out, whole, "byte by byte");
}

#[test]
fn a_request_is_handed_on_with_its_last_byte() {
    // No later byte may be needed to get a whole block going.
    let out = handed_on(&[
        frame(HEADERS, 0, &block(PATH)),
        frame(CONTINUATION, END_HEADERS, &[]),
    ]);
    assert!(!out.unwrap().is_empty());
}

#[test]
fn refuses_what_it_cannot_hand_on() {
    let too_large: Vec<u8> = repeat_n(0x84, MAX_BLOCK + 1).collect();
    let half: Vec<u8> = repeat_n(0x84, MAX_BLOCK / 2 + 1).collect();
    let parts = [
        vec![frame(HEADERS, 0, &[0x84])],
        vec![frame(CONTINUATION, 0, &[]); MAX_PARTS],
    ]
    .concat();
    let mut stranger = frame(CONTINUATION, END_HEADERS, &[0x84]);
    stranger[8] = 3;
    for (frames, why) in [
        (
            vec![frame(HEADERS, END_HEADERS, &too_large)],
            FramesError::TooLarge,
        ),
        (
            vec![
                frame(HEADERS, 0, &half),
                frame(CONTINUATION, END_HEADERS, &half),
            ],
            FramesError::TooLarge,
        ),
        (parts, FramesError::TooManyParts),
        (
            vec![frame(HEADERS, 0, &[0x84]), frame(DATA, 0, &[])],
            FramesError::Interrupted,
        ),
        (
            vec![frame(HEADERS, 0, &[0x84]), stranger],
            FramesError::Interrupted,
        ),
        (
            vec![frame(HEADERS, END_HEADERS | PADDED, &[9, 0x84])],
            FramesError::Short,
        ),
        (
            vec![frame(HEADERS, END_HEADERS | PADDED, &[])],
            FramesError::Short,
        ),
        (
            vec![frame(HEADERS, END_HEADERS | PRIORITY, &[0; 4])],
            FramesError::Short,
        ),
    ] {
        assert_eq!(handed_on(&frames), Err(why));
    }
}

#[test]
fn a_broken_connection_stays_broken() {
    let mut frames = Frames::default();
    let mut out = Vec::new();
    let bad = [PREFACE, &frame(HEADERS, END_HEADERS | PADDED, &[])].concat();
    assert_eq!(frames.push(&bad, &mut out), Err(FramesError::Short));
    let good = frame(HEADERS, END_HEADERS, &block(PATH));
    assert_eq!(frames.push(&good, &mut out), Err(FramesError::Short));
    assert_eq!(out, PREFACE);
}

#[test]
fn any_bytes_are_taken_without_panic_and_without_growth() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..2_000 {
        let mut frames = Frames::default();
        let mut out = Vec::new();
        let mut fed = PREFACE.len();
        frames.push(PREFACE, &mut out).unwrap();
        for _ in 0..20 {
            let noise: Vec<u8> = repeat_n((), random.usize(..64))
                .map(|()| random.u8(..))
                .collect();
            let kind = random.u8(..12);
            let input = frame(kind, random.u8(..), &noise);
            fed += input.len();
            if frames.push(&input, &mut out).is_err() {
                break;
            }
        }
        // A replacement may be longer than what it replaces, by less than its own length.
        assert!(out.len() <= fed + 20 * 10);
    }
}
