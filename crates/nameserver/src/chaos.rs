//! The names of the CHAOS class that tell about the server itself (RFC 4892).

use crate::answer::Outcome;
use crate::responder::Settings;
use crate::writer::{Section, Writer};
use wire::message::{HEADER_LEN, POINTER, ede};
use wire::{Class, FoldedName, Rcode, RecordType};

/// The longest text that fits one character-string (RFC 1035 §3.3).
const TEXT_MAX: usize = 255;

/// Answers for `version.bind`, `version.server`, `id.server` and `hostname.bind`; everything else, and what the
/// operator hides, is refused.
pub(crate) fn answer(
    settings: &Settings,
    name: &FoldedName,
    qtype: RecordType,
    writer: &mut Writer<'_>,
) -> Outcome {
    let text = match name.as_wire() {
        b"\x07version\x04bind\x00" | b"\x07version\x06server\x00" => settings.version.as_deref(),
        b"\x02id\x06server\x00" | b"\x08hostname\x04bind\x00" => settings.server_id.as_deref(),
        _ => None,
    };
    let Some(text) = text else {
        return Outcome::error(Rcode::REFUSED).with_ede(ede::NOT_AUTHORITATIVE);
    };
    let mut outcome = Outcome::authoritative(Rcode::NOERROR);
    if qtype != RecordType::TXT && qtype != RecordType::ANY {
        return outcome;
    }
    let text = &text[..text.len().min(TEXT_MAX)];
    let rdlength = 1 + text.len() as u16;
    let appended = writer.record(
        Section::Answer,
        &[
            &(POINTER | HEADER_LEN as u16).to_be_bytes(),
            &RecordType::TXT.0.to_be_bytes(),
            &Class::CH.0.to_be_bytes(),
            &0u32.to_be_bytes(),
            &rdlength.to_be_bytes(),
            &[text.len() as u8],
            text,
        ],
    );
    outcome.truncated = appended.is_err();
    outcome
}
