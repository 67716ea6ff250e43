//! The four octets that each side of a RawSocket sends first (WAMP specification, "RawSocket Transport").

use shared::wamp::CodecId;

/// The first octet of a handshake.
pub(super) const MAGIC: u8 = 0x7F;
/// The largest length that a frame's three octets can say.
const LARGEST: usize = (1 << 24) - 1;

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) codec: CodecId,
    /// The largest message that the client takes, in bytes.
    pub(super) largest: usize,
}

/// Why a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not RawSocket at all: closed without an answer.
    Foreign,
    /// The codec is unknown.
    Serializer,
    /// Reserved bits are used.
    Reserved,
    /// All places are taken.
    Full,
}

impl Refusal {
    /// The answer, if there is one.
    pub(super) fn answer(self) -> Option<[u8; 4]> {
        let error = match self {
            Self::Foreign => return None,
            Self::Serializer => 1,
            Self::Reserved => 3,
            Self::Full => 4,
        };
        Some([MAGIC, error << 4, 0, 0])
    }
}

/// What the client's octets say.
pub(super) fn read(octets: [u8; 4]) -> Result<Agreed, Refusal> {
    let [magic, offer, reserved @ ..] = octets;
    if magic != MAGIC {
        return Err(Refusal::Foreign);
    }
    if reserved != [0, 0] {
        return Err(Refusal::Reserved);
    }
    let codec = match offer & 0x0F {
        1 => CodecId::Json,
        2 => CodecId::Msgpack,
        3 => CodecId::Cbor,
        _ => return Err(Refusal::Serializer),
    };
    let largest = (1 << (9 + (offer >> 4))).min(LARGEST);
    Ok(Agreed { codec, largest })
}

/// The answer that accepts, with the largest message that we take: the largest the octets can say within `limit`.
pub(super) fn accept(offer: u8, limit: usize) -> [u8; 4] {
    [MAGIC, (exponent(limit) << 4) | (offer & 0x0F), 0, 0]
}

/// The largest message that we take, in bytes, after having said so with `limit`.
pub(super) fn taken(limit: usize) -> usize {
    (1 << (9 + exponent(limit))).min(LARGEST)
}

fn exponent(limit: usize) -> u8 {
    (0..=15).rev().find(|n| 1 << (9 + n) <= limit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_powers_of_two_from_512_bytes_to_16_mebibytes() {
        let largest = |offer| read([MAGIC, offer, 0, 0]).map(|agreed| agreed.largest);
        assert_eq!(largest(0x01), Ok(512));
        assert_eq!(largest(0x73), Ok(64 * 1024));
        assert_eq!(largest(0xF2), Ok(LARGEST), "16 MiB do not fit into three octets");
        assert_eq!(accept(0x02, 4 * 1024 * 1024), [MAGIC, 0xD2, 0, 0]);
        assert_eq!(accept(0x51, 4 * 1024 * 1024 - 1), [MAGIC, 0xC1, 0, 0]);
        assert_eq!(accept(0x51, 100), [MAGIC, 0x01, 0, 0]);
        assert_eq!((taken(65_536), taken(usize::MAX)), (65_536, LARGEST));
    }

    #[test]
    fn each_mistake_has_its_error_and_nothing_is_accepted_by_mistake() {
        for octets in (0..=u32::MAX).step_by(65_521).map(u32::to_be_bytes) {
            let good = octets[0] == MAGIC && octets[2..] == [0, 0] && (1..=3).contains(&(octets[1] & 0x0F));
            assert_eq!(read(octets).is_ok(), good, "{octets:?}");
        }
        assert_eq!(read(*b"GET "), Err(Refusal::Foreign));
        assert_eq!(read([MAGIC, 0xF4, 0, 0]), Err(Refusal::Serializer));
        assert_eq!(read([MAGIC, 0xF0, 0, 0]), Err(Refusal::Serializer));
        assert_eq!(read([MAGIC, 0xF1, 0, 1]), Err(Refusal::Reserved));
        assert_eq!(Refusal::Foreign.answer(), None);
        assert_eq!(Refusal::Serializer.answer(), Some([MAGIC, 0x10, 0, 0]));
        assert_eq!(Refusal::Full.answer(), Some([MAGIC, 0x40, 0, 0]));
    }
}
