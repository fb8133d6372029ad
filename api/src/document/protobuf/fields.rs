//! The wire format of protobuf: numbered fields, each a number, a fixed number of bytes, or a counted piece.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Payload<'a> {
    /// A varint: integers and switches.
    Number(u64),
    /// Text, bytes, messages.
    Piece(&'a [u8]),
    /// Eight bytes: a float.
    Eight([u8; 8]),
    /// Four bytes.
    Four([u8; 4]),
}

impl Payload<'_> {
    /// The number of this form on the wire, for errors.
    pub(super) fn form(&self) -> u8 {
        match self {
            Payload::Number(_) => 0,
            Payload::Eight(_) => 1,
            Payload::Piece(_) => 2,
            Payload::Four(_) => 5,
        }
    }
}

/// Why a message cannot be read.
pub(super) const CUT: &str = "unexpected EOF";
const STRANGE: &str = "proto: illegal wireType";

/// Reads one varint from the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(at * 7).unwrap_or(64)).unwrap_or(0);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 { CUT } else { "proto: integer overflow" })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], &'static str> {
    let (piece, rest) = bytes.split_at_checked(count).ok_or(CUT)?;
    *bytes = rest;
    Ok(piece)
}

/// Reads the next field, or nothing at the end.
pub(super) fn field<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u32, Payload<'a>)>, &'static str> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = varint(bytes)?;
    let number = u32::try_from(key >> 3).map_err(|_| STRANGE)?;
    if number == 0 {
        return Err("proto: illegal tag 0");
    }
    let payload = match key & 7 {
        0 => Payload::Number(varint(bytes)?),
        1 => Payload::Eight(take(bytes, 8)?.try_into().map_err(|_| CUT)?),
        2 => {
            let count = usize::try_from(varint(bytes)?).map_err(|_| CUT)?;
            Payload::Piece(take(bytes, count)?)
        }
        5 => Payload::Four(take(bytes, 4)?.try_into().map_err(|_| CUT)?),
        _ => return Err(STRANGE),
    };
    Ok(Some((number, payload)))
}
