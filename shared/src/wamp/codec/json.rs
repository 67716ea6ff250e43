//! Finds the elements of a JSON frame: a checking scanner that builds nothing.

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

/// The text, if it is written without escapes.
pub(crate) fn plain_text(bytes: &[u8]) -> Option<&str> {
    let inner = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if plain(inner) < inner.len() {
        return None;
    }
    std::str::from_utf8(inner).ok()
}

/// Finds the elements of the list that the frame is, checking all of it.
pub(crate) fn split(frame: &[u8]) -> Result<Elements, DecodeError> {
    let mut scanner = Scanner { bytes: frame, at: 0 };
    let mut elements = Elements::default();
    scanner.space();
    if scanner.peek() != Some(b'[') {
        return Err(DecodeError::new(DecodeErrorKind::BadLayout, "a message is a list"));
    }
    scanner.at += 1;
    scanner.space();
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
    } else {
        loop {
            scanner.space();
            let start = scanner.at;
            scanner.value(DEPTH_LIMIT - 1)?;
            elements.push(kind(frame.get(start).copied().unwrap_or(0)), start..scanner.at)?;
            scanner.space();
            match scanner.next() {
                Some(b',') => {}
                Some(b']') => break,
                _ => return Err(scanner.wrong("expected ',' or ']'")),
            }
        }
    }
    scanner.space();
    if scanner.at == frame.len() {
        Ok(elements)
    } else {
        Err(scanner.wrong("bytes after the message"))
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn wrong(&self, text: &str) -> DecodeError {
        DecodeError::malformed(text, self.at.min(self.bytes.len()))
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes one value. `depth` = how many more levels may be opened.
    fn value(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[' | b'{') if depth == 0 => Err(DecodeError::too_deep()),
            Some(b'[') => self.members(depth, b']', |scanner, depth| scanner.value(depth)),
            Some(b'{') => self.members(depth, b'}', |scanner, depth| {
                if scanner.peek() != Some(b'"') {
                    return Err(scanner.wrong("expected a key"));
                }
                scanner.string()?;
                scanner.space();
                if scanner.next() != Some(b':') {
                    return Err(scanner.wrong("expected ':'"));
                }
                scanner.space();
                scanner.value(depth)
            }),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.wrong("expected a value")),
        }
    }

    fn members(
        &mut self,
        depth: usize,
        end: u8,
        member: impl Fn(&mut Self, usize) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.at += 1;
        self.space();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            member(self, depth - 1)?;
            self.space();
            match self.next() {
                Some(b',') => {}
                Some(byte) if byte == end => return Ok(()),
                _ => return Err(self.wrong("expected ',' or the end of a list or map")),
            }
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), DecodeError> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(literal)) {
            self.at += literal.len();
            Ok(())
        } else {
            Err(self.wrong("expected a value"))
        }
    }

    /// Passes a string. Escapes of half a surrogate pair are refused: no Rust string can hold them.
    fn string(&mut self) -> Result<(), DecodeError> {
        self.at += 1;
        let start = self.at;
        loop {
            self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
            match self.next() {
                Some(b'"') => return self.is_text(start),
                Some(b'\\') => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => match self.hex4()? {
                        0xd800..=0xdbff => {
                            let low = self.next() == Some(b'\\')
                                && self.next() == Some(b'u')
                                && matches!(self.hex4()?, 0xdc00..=0xdfff);
                            if !low {
                                return Err(self.wrong("half a surrogate pair"));
                            }
                        }
                        0xdc00..=0xdfff => return Err(self.wrong("half a surrogate pair")),
                        _ => {}
                    },
                    _ => return Err(self.wrong("unknown escape")),
                },
                Some(0..=0x1f) => return Err(self.wrong("control character in a string")),
                Some(_) => {}
                None => return Err(self.wrong("string without end")),
            }
        }
    }

    /// Whether what was passed since `start` is UTF-8. Only strings can hold bytes beyond ASCII.
    fn is_text(&self, start: usize) -> Result<(), DecodeError> {
        let passed = self.bytes.get(start..self.at).unwrap_or_default();
        if passed.is_ascii() {
            return Ok(());
        }
        match std::str::from_utf8(passed) {
            Ok(_) => Ok(()),
            Err(error) => Err(DecodeError::malformed("not UTF-8", start + error.valid_up_to())),
        }
    }

    fn hex4(&mut self) -> Result<u32, DecodeError> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            number = number * 16 + digit.ok_or_else(|| self.wrong("expected four hexadecimal digits"))?;
        }
        Ok(number)
    }

    fn digits(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(self.wrong("expected a digit"))
        }
    }

    fn number(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut large = self.at - start > 300;
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            large = true;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // Only such numbers can be too large for f64, which no reader could take.
        if large && !self.is_finite(start) {
            return Err(self.wrong("number out of range"));
        }
        Ok(())
    }

    fn is_finite(&self, start: usize) -> bool {
        let bytes = self.bytes.get(start..self.at).unwrap_or_default();
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        text.parse::<f64>().is_ok_and(f64::is_finite)
    }
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
