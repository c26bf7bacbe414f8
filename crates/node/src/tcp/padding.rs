//! Padding of answers (RFC 7830): over TLS their length would tell what was asked.

use wire::RecordType;
use wire::message::{HEADER_LEN, MESSAGE_MAX, RecordView, option, skip_name, u16_at};

/// Answers get a multiple of this many octets (RFC 8467 §4.1).
const BLOCK_LEN: usize = 468;
/// Octets of an option's code and length.
const OPTION_HEAD_LEN: usize = 4;
/// Octets of a question behind its name.
const QUESTION_FIXED_LEN: usize = 4;

/// Pads an answer of `len` octets if the query has asked for it; how many it has then. One that is signed stays as it is.
pub(super) fn pad(query: &[u8], response: &mut [u8], len: usize) -> usize {
    if !asks_for_padding(query) {
        return len;
    }
    let Some(opt) = opt_at_the_end(&response[..len]) else { return len };
    let padded = (len + OPTION_HEAD_LEN).next_multiple_of(BLOCK_LEN).min(MESSAGE_MAX);
    let options_len = opt.end - opt.data_at + padded - len;
    let (Some(padding_len), Ok(options_len)) =
        (padded.checked_sub(len + OPTION_HEAD_LEN), u16::try_from(options_len))
    else {
        return len; // it is as long as a message can be
    };
    response[opt.data_at - 2..opt.data_at].copy_from_slice(&options_len.to_be_bytes());
    response[len..len + 2].copy_from_slice(&option::PADDING.to_be_bytes());
    response[len + 2..len + OPTION_HEAD_LEN].copy_from_slice(&(padding_len as u16).to_be_bytes()); // less than `options_len`
    response[len + OPTION_HEAD_LEN..padded].fill(0);
    padded
}

fn asks_for_padding(query: &[u8]) -> bool {
    let Some(opt) = opt_at_the_end(query) else { return false };
    let mut at = opt.data_at;
    while let (Some(code), Some(len)) = (u16_at(query, at), u16_at(query, at + 2)) {
        if code == option::PADDING {
            return true;
        }
        at += OPTION_HEAD_LEN + usize::from(len);
    }
    false
}

/// The last record of a message, if it is an OPT record and nothing is behind it.
fn opt_at_the_end(message: &[u8]) -> Option<RecordView> {
    let count = |at| u16_at(message, at).map(usize::from);
    let mut at = HEADER_LEN;
    for _ in 0..count(4)? {
        at = skip_name(message, at)? + QUESTION_FIXED_LEN;
    }
    let mut last = None;
    for _ in 0..count(6)? + count(8)? + count(10)? {
        let record = RecordView::read(message, at)?;
        at = record.end;
        last = Some(record);
    }
    last.filter(|record| record.rtype == RecordType::OPT && record.end == message.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question for the root with an OPT record that has these options.
    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = b"\0\x07\0\0\0\x01\0\0\0\0\0\x01\0\0\x06\0\x01\0\0\x29\x04\xd0\0\0\0\0".to_vec();
        message.extend((options.len() as u16).to_be_bytes());
        message.extend(options);
        message
    }

    fn padded(query: &[u8], response: &[u8]) -> Vec<u8> {
        let mut room = vec![0xaa; MESSAGE_MAX];
        room[..response.len()].copy_from_slice(response);
        let len = pad(query, &mut room, response.len());
        room.truncate(len);
        room
    }

    #[test]
    fn who_asks_for_it_gets_whole_blocks() {
        let asks = message(b"\0\x03\0\0\0\x0c\0\x02\0\0");
        for (options_len, expected) in [(0, 468), (468 - 28 - 8, 468), (468 - 28 - 7, 936)] {
            let options = if options_len == 0 {
                Vec::new()
            } else {
                [&[0xfd, 0xe9][..], &(options_len as u16).to_be_bytes(), &vec![1; options_len]].concat()
            };
            let response = message(&options);
            let padded = padded(&asks, &response);
            assert_eq!(padded.len(), expected, "{options_len}");
            let opt = opt_at_the_end(&padded).unwrap();
            assert_eq!(padded[opt.data_at..][..options.len()], options);
            let padding = &padded[opt.data_at + options.len()..];
            assert_eq!(u16_at(padding, 0), Some(option::PADDING));
            assert_eq!(u16_at(padding, 2).map(usize::from), Some(padding.len() - 4));
            assert!(padding[4..].iter().all(|octet| *octet == 0));
        }
    }

    #[test]
    fn nobody_else_does() {
        let response = message(b"");
        let asks = message(b"\0\x0c\0\0");
        for query in [message(b""), message(b"\0\x03\0\0"), asks[..asks.len() - 1].to_vec(), Vec::new()] {
            assert_eq!(padded(&query, &response), response);
        }
        // Without EDNS, with something behind the OPT record, and without room.
        let plain = b"\0\x07\x80\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01";
        let signed = [&message(b"")[..], b"\0\0\xfa\0\xff\0\0\0\0\0\0"].concat();
        let mut signed = signed;
        signed[11] = 2;
        let full = message(&[&[0xfd, 0xe9, 0xff, 0xdf][..], &vec![1; 65_503]].concat());
        for response in [&plain[..], &signed, &full] {
            assert_eq!(padded(&asks, response), response);
        }
        assert_eq!(full.len(), 65_535);
    }
}
