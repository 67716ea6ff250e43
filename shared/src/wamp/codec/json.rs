//! Finds the elements of a JSON frame: a checking scanner that builds nothing.

use std::ops::Range;

use super::{DEPTH_LIMIT, DecodeError, DecodeErrorKind, Elements, Kind};

/// The kind of the value that starts with this byte.
pub(crate) const fn kind(first: u8) -> Kind {
    match first {
        b'[' => Kind::List,
        b'{' => Kind::Map,
        b'"' => Kind::Text,
        b'-' | b'0'..=b'9' => Kind::Number,
        _ => Kind::Other,
    }
}

/// How many bytes at the start of a string stand for themselves: no quote, no backslash, no control character.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let special = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
    let mut at = 0;
    // Without branches, so that the compiler looks at all sixteen at once.
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        if chunk.iter().fold(false, |found, byte| found | special(*byte)) {
            break;
        }
        at += 16;
    }
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        // Sets the high bit of each byte below `limit`; above the first of them, others may be set by borrowing.
        let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH;
        let equal = |wanted: u8| below(word ^ (ONES * u64::from(wanted)), 1);
        let special = equal(b'"') | equal(b'\\') | below(word, 0x20);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| !special(**byte)).count()
}

/// The number, if it is written as a plain whole one.
pub(crate) fn plain_number(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [b'0'] => Some(0),
        // Sixteen digits always fit.
        [b'1'..=b'9', ..] if bytes.len() <= 16 => bytes.iter().try_fold(0_u64, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
        }),
        _ => None,
    }
}

/// The text of a string that was found to have no escapes.
pub(crate) fn plain_text(bytes: &[u8]) -> Option<&str> {
    let inner = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(inner).ok()
}

/// Finds the elements of the list that the frame is, checking all of it.
pub(crate) fn split(frame: &[u8]) -> Result<Elements, DecodeError> {
    let mut elements = Elements::default();
    match message(frame, &mut elements) {
        Ok(()) => Ok(elements),
        Err(fault) => Err(fault.into()),
    }
}

/// What a frame holds that begins with a code, a request and no options.
pub(crate) struct Usual {
    pub(crate) code: u64,
    pub(crate) request: u64,
    /// Inside of the quotes.
    pub(crate) text: Option<Range<usize>>,
    /// A list; nothing if there is none in the frame, or an empty one.
    pub(crate) args: Range<usize>,
}

/// Reads `[code,request,{}`, then perhaps a text without escapes and perhaps a list. None if anything else is there,
/// spaces included.
pub(crate) fn usual(frame: &[u8]) -> Option<Usual> {
    let (code, at) = whole_number(frame, after(frame, 0, b"[")?)?;
    let (request, at) = whole_number(frame, after(frame, at, b",")?)?;
    let mut at = after(frame, at, b",{}")?;
    let mut text = None;
    if frame.get(at..at + 2) == Some(b",\"") {
        let end = plain_string(frame, at + 1)?;
        text = Some(at + 2..end - 1);
        at = end;
    }
    let mut args = at..at;
    if frame.get(at..at + 2) == Some(b",[") {
        args = at + 1..value(frame, at + 1, DEPTH_LIMIT - 1).ok()?;
        at = args.end;
        if args.len() == 2 {
            args = at..at;
        }
    }
    (frame.get(at..) == Some(b"]")).then_some(Usual {
        code,
        request,
        text,
        args,
    })
}

fn after(bytes: &[u8], at: usize, wanted: &[u8]) -> Option<usize> {
    let end = at + wanted.len();
    (bytes.get(at..end) == Some(wanted)).then_some(end)
}

/// A number without sign, and the place after it. Sixteen digits always fit.
fn whole_number(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let (mut number, mut at) = (0_u64, start);
    while let digit @ b'0'..=b'9' = byte(bytes, at) {
        if at - start == 16 {
            return None;
        }
        number = number * 10 + u64::from(digit - b'0');
        at += 1;
    }
    (byte(bytes, start) != b'0' && at > start).then_some((number, at))
}

/// What is wrong and where. So small that it fits into a register: each step of the scanner could return one.
#[derive(Clone, Copy, Debug)]
struct Fault(Wrong, u32);

#[derive(Clone, Copy, Debug)]
enum Wrong {
    NoList,
    TooManyElements,
    TooDeep,
    BytesAfter,
    Value,
    Separator,
    Key,
    Colon,
    Digit,
    OutOfRange,
    HexDigits,
    Escape,
    HalfSurrogate,
    Control,
    NoQuote,
    NotText,
}

impl From<Fault> for DecodeError {
    fn from(Fault(wrong, at): Fault) -> Self {
        let text = match wrong {
            Wrong::NoList => return Self::new(DecodeErrorKind::BadLayout, "a message is a list"),
            Wrong::TooManyElements => return Elements::too_many(),
            Wrong::TooDeep => return Self::too_deep(),
            Wrong::BytesAfter => "bytes after the message",
            Wrong::Value => "expected a value",
            Wrong::Separator => "expected ',' or the end of a list or map",
            Wrong::Key => "expected a key",
            Wrong::Colon => "expected ':'",
            Wrong::Digit => "expected a digit",
            Wrong::OutOfRange => "number out of range",
            Wrong::HexDigits => "expected four hexadecimal digits",
            Wrong::Escape => "unknown escape",
            Wrong::HalfSurrogate => "half a surrogate pair",
            Wrong::Control => "control character in a string",
            Wrong::NoQuote => "string without end",
            Wrong::NotText => "not UTF-8",
        };
        Self::malformed(text, usize::try_from(at).unwrap_or(usize::MAX))
    }
}

/// Each of the functions below passes something that starts at a place, and returns the place after it. No state but
/// that: it stays in a register.
type Passed = Result<usize, Fault>;

#[cold]
fn wrong<T>(wrong: Wrong, at: usize) -> Result<T, Fault> {
    Err(Fault(wrong, u32::try_from(at).unwrap_or(u32::MAX)))
}

fn message(bytes: &[u8], elements: &mut Elements) -> Result<(), Fault> {
    let start = space(bytes, 0);
    if byte(bytes, start) != b'[' {
        return wrong(Wrong::NoList, start);
    }
    let end = members(bytes, start, b']', |at| {
        let plain = plain_string(bytes, at);
        let end = plain.map_or_else(|| value(bytes, at, DEPTH_LIMIT - 1), Ok)?;
        if elements.add(kind(byte(bytes, at)), plain.is_some(), at..end) {
            Ok(end)
        } else {
            wrong(Wrong::TooManyElements, at)
        }
    })?;
    let end = space(bytes, end);
    if end == bytes.len() {
        Ok(())
    } else {
        wrong(Wrong::BytesAfter, end)
    }
}

/// The byte at a place; after the end 0, which JSON has nowhere.
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn space(bytes: &[u8], mut at: usize) -> usize {
    while let b' ' | b'\t' | b'\n' | b'\r' = byte(bytes, at) {
        at += 1;
    }
    at
}

/// `depth` = how many more levels may be opened.
fn value(bytes: &[u8], at: usize, depth: usize) -> Passed {
    match byte(bytes, at) {
        b'"' => string(bytes, at),
        b'-' | b'0'..=b'9' => number(bytes, at),
        b'[' | b'{' if depth == 0 => wrong(Wrong::TooDeep, at),
        b'[' => members(bytes, at, b']', |at| value(bytes, at, depth - 1)),
        b'{' => members(bytes, at, b'}', |at| {
            if byte(bytes, at) != b'"' {
                return wrong(Wrong::Key, at);
            }
            let at = space(bytes, string(bytes, at)?);
            if byte(bytes, at) != b':' {
                return wrong(Wrong::Colon, at);
            }
            value(bytes, space(bytes, at + 1), depth - 1)
        }),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        _ => wrong(Wrong::Value, at),
    }
}

/// A list or a map, from its opening bracket.
#[inline]
fn members(bytes: &[u8], at: usize, end: u8, mut member: impl FnMut(usize) -> Passed) -> Passed {
    let mut at = space(bytes, at + 1);
    if byte(bytes, at) == end {
        return Ok(at + 1);
    }
    loop {
        at = space(bytes, member(at)?);
        match byte(bytes, at) {
            b',' => at = space(bytes, at + 1),
            found if found == end => return Ok(at + 1),
            _ => return wrong(Wrong::Separator, at),
        }
    }
}

fn literal(bytes: &[u8], at: usize, literal: &[u8]) -> Passed {
    if bytes.get(at..).is_some_and(|rest| rest.starts_with(literal)) {
        Ok(at + literal.len())
    } else {
        wrong(Wrong::Value, at)
    }
}

/// A string without escapes; none if it is anything else.
fn plain_string(bytes: &[u8], at: usize) -> Option<usize> {
    if byte(bytes, at) != b'"' {
        return None;
    }
    let inner = bytes.get(at + 1..)?;
    let inner = inner.get(..plain(inner))?;
    let end = at + 1 + inner.len();
    (byte(bytes, end) == b'"' && (inner.is_ascii() || std::str::from_utf8(inner).is_ok())).then_some(end + 1)
}

fn string(bytes: &[u8], start: usize) -> Passed {
    if let Some(end) = plain_string(bytes, start) {
        return Ok(end);
    }
    let mut at = start + 1;
    loop {
        at += plain(bytes.get(at..).unwrap_or_default());
        match bytes.get(at) {
            Some(b'"') => break,
            Some(b'\\') => at = escape(bytes, at + 1)?,
            Some(_) => return wrong(Wrong::Control, at),
            None => return wrong(Wrong::NoQuote, at),
        }
    }
    // Only strings can hold bytes beyond ASCII.
    match std::str::from_utf8(bytes.get(start..at).unwrap_or_default()) {
        Ok(_) => Ok(at + 1),
        Err(error) => wrong(Wrong::NotText, start + error.valid_up_to()),
    }
}

/// What follows a backslash. Half a surrogate pair is refused: no Rust string can hold it.
fn escape(bytes: &[u8], at: usize) -> Passed {
    match byte(bytes, at) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
        b'u' => match hex4(bytes, at + 1)? {
            0xd800..=0xdbff => {
                let has_low = byte(bytes, at + 5) == b'\\'
                    && byte(bytes, at + 6) == b'u'
                    && matches!(hex4(bytes, at + 7)?, 0xdc00..=0xdfff);
                if has_low {
                    Ok(at + 11)
                } else {
                    wrong(Wrong::HalfSurrogate, at)
                }
            }
            0xdc00..=0xdfff => wrong(Wrong::HalfSurrogate, at),
            _ => Ok(at + 5),
        },
        _ => wrong(Wrong::Escape, at),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let mut number = 0;
    for at in at..at + 4 {
        match char::from(byte(bytes, at)).to_digit(16) {
            Some(digit) => number = number * 16 + digit,
            None => return wrong(Wrong::HexDigits, at),
        }
    }
    Ok(number)
}

fn digits(bytes: &[u8], start: usize) -> Passed {
    let mut at = start;
    while byte(bytes, at).is_ascii_digit() {
        at += 1;
    }
    if at > start { Ok(at) } else { wrong(Wrong::Digit, at) }
}

fn number(bytes: &[u8], start: usize) -> Passed {
    let whole = start + usize::from(byte(bytes, start) == b'-');
    let mut at = if byte(bytes, whole) == b'0' {
        whole + 1
    } else {
        digits(bytes, whole)?
    };
    if byte(bytes, at) == b'.' {
        at = digits(bytes, at + 1)?;
    }
    let mut is_large = at - start > 300;
    if let b'e' | b'E' = byte(bytes, at) {
        is_large = true;
        let has_sign = matches!(byte(bytes, at + 1), b'+' | b'-');
        at = digits(bytes, at + 1 + usize::from(has_sign))?;
    }
    // Only such numbers can be too large for f64, which no reader could take.
    if is_large && !is_finite(bytes.get(start..at).unwrap_or_default()) {
        return wrong(Wrong::OutOfRange, at);
    }
    Ok(at)
}

fn is_finite(number: &[u8]) -> bool {
    let text = std::str::from_utf8(number).unwrap_or_default();
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text that is often nearly JSON.
    fn nearly_json() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec![
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "\"a\"",
            "\"\\u0041\"",
            "\"\\n\"",
            "\"\\x\"",
            "\"",
            "0",
            "-0",
            "01",
            "1.5",
            "1.",
            "1e5",
            "1e",
            "-",
            "2E-3",
            "true",
            "false",
            "null",
            "nul",
            " ",
            "\n",
            "é",
            "\u{1}",
        ]);
        prop::collection::vec(token, 0..14).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn the_scanner_accepts_what_serde_json_accepts(text in nearly_json()) {
            let frame = format!("[{text}]");
            let ours = split(frame.as_bytes()).map(|elements| elements.len());
            let theirs = serde_json::from_str::<Vec<serde_json::Value>>(&frame).map(|values| values.len());
            match ours {
                Ok(count) => prop_assert_eq!(theirs.ok(), Some(count), "{}", frame),
                Err(error) if error.kind == DecodeErrorKind::BadLayout => {}
                Err(_) => prop_assert!(theirs.is_err(), "{}", frame),
            }
        }
    }

    proptest! {
        #[test]
        fn plain_bytes_are_counted_as_one_by_one(bytes in prop::collection::vec(
            prop_oneof![8 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 2 => 0_u8..0x21, 40 => b'a'..=b'z'], 0..60)
        ) {
            let one_by_one = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            prop_assert_eq!(plain(&bytes), one_by_one.unwrap_or(bytes.len()));
        }

        #[test]
        fn a_plain_number_is_what_serde_reads(text in "[0-9]{1,20}|-?[0-9.eE]{1,6}") {
            if let Some(number) = plain_number(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<u64>(&text).ok(), Some(number));
            }
        }
    }

    #[test]
    fn only_text_is_taken_wherever_it_is_broken() {
        let long = "0123456789".repeat(3);
        for (before, after) in [
            ("", ""),
            (&*long, ""),
            ("", &*long),
            (&*long, &*long),
            ("é", "\\n\\u0041"),
            ("\\\"", ""),
        ] {
            let frame = |middle: &[u8]| [b"[1,{\"", before.as_bytes(), middle, after.as_bytes(), b"\":2}]"].concat();
            assert!(split(&frame("ü".as_bytes())).is_ok());
            for broken in [&b"\xff"[..], b"\xc3", b"\x80", b"\xed\xa0\x80"] {
                assert!(split(&frame(broken)).is_err(), "{before} {broken:?} {after}");
            }
        }
        assert!(split(b"[1,\xc3\xbc]").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (frame, text) in [
            (&b"[1,x]"[..], "expected a value at byte 3"),
            (b"[1,{\"a\" 2}]", "expected ':' at byte 8"),
            (b"[1,\"a\\x\"]", "unknown escape at byte 6"),
            (b"[1,\"abc\xff\"]", "not UTF-8 at byte 7"),
            (b"[1,\"abc", "string without end at byte 7"),
            (b"[1] 2", "bytes after the message at byte 4"),
        ] {
            assert_eq!(
                split(frame).map(|found| found.len()).map_err(|error| error.text),
                Err(text.to_owned())
            );
        }
    }

    #[test]
    fn half_surrogates_and_numbers_beyond_f64_are_refused() {
        for bad in [
            r#"["\ud800"]"#,
            r#"["\ud800\u0041"]"#,
            r#"["\udc00"]"#,
            "[1e999]",
            "[-1e999]",
        ] {
            assert!(split(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(split(br#"["\ud83d\ude00"]"#).is_ok());
        let long = format!("[{}]", "9".repeat(400));
        assert!(split(long.as_bytes()).is_err());
    }
}
