//! `$GENERATE`: records from a range and a template, as BIND has it.
//!
//! `$GENERATE start-stop[/step] owner [TTL] [class] type data`. In owner and data `$` stands for the number, `\$`
//! for a `$`, and `${offset,width,base}` for the number plus `offset`, padded with zeros to `width`, in base `d`
//! (decimal), `o` (octal), `x` or `X` (hexadecimal), `n` or `N` (hexadecimal digits in reverse with dots between, as in
//! the reverse zones of IPv6; the dots count for the width). Data of one quoted text is what the quotes hold.

use super::error::{Diagnostic, Failed, Fallible, Problem, excerpt};
use super::reader::{Reader, required};
use super::scan::{Scanner, Word};
use super::{GENERATE_MAX, Place, Sink, number};
use std::io::Write;

/// The widest number: no name has longer labels, and no name more digits with dots between.
const WIDTH_MAX: u32 = 255;

struct Range {
    start: u32,
    stop: u32,
    step: u32,
}

/// Runs the directive whose name has been read.
pub(super) fn run<S: Sink>(reader: &mut Reader<'_, S>, scan: &mut Scanner<'_>, place: Place) -> Fallible<()> {
    let word = required(scan, "a range such as 1-100")?;
    let range = range(word.text).ok_or_else(|| word.wrong(Problem::GenerateRange))?;
    let template = template(scan)?;
    // All expansions are alike, so the first error ends the directive: a million copies of it tell no more.
    let mut line = Vec::new();
    let mut value = range.start;
    loop {
        if reader.generated >= GENERATE_MAX {
            return Err(Problem::GenerateCount.at(place));
        }
        reader.generated += 1;
        line.clear();
        expand(&template, value, &mut line).map_err(|problem| at_directive(value, problem, place))?;
        let mut words = Scanner::new(&line, place.file);
        let made = match words.word() {
            Ok(Some(owner)) => reader.owned_record(&mut words, Word { place, ..owner }),
            Ok(None) => Err(Problem::Missing("an owner").at(place)),
            Err(failed) => Err(failed),
        };
        made.map_err(|failed| at_directive(value, failed.problem, place))?;
        match value.checked_add(range.step) {
            Some(next) if next <= range.stop => value = next,
            _ => return Ok(()),
        }
    }
}

fn at_directive(value: u32, problem: Problem, place: Place) -> Failed {
    Box::new(Diagnostic { place, problem: Problem::Generated { value, problem: Box::new(problem) } })
}

fn range(text: &[u8]) -> Option<Range> {
    const MAX: u32 = i32::MAX as u32;
    let (text, step) = match text.iter().position(|&octet| octet == b'/') {
        Some(at) => (&text[..at], number::decimal(&text[at + 1..], MAX)?),
        None => (text, 1),
    };
    let at = text.iter().position(|&octet| octet == b'-')?;
    let (start, stop) = (number::decimal(&text[..at], MAX)?, number::decimal(&text[at + 1..], MAX)?);
    (start <= stop && step > 0).then_some(Range { start, stop, step })
}

/// The words after the range on one line: a quoted text at the end that is all of the data without its quotes, others as
/// they are.
fn template(scan: &mut Scanner<'_>) -> Fallible<Vec<u8>> {
    let owner = required(scan, "an owner such as host$")?;
    let mut template = owner.text.to_vec();
    let mut is_data = false;
    let mut data: Vec<Word<'_>> = Vec::new();
    while let Some(word) = scan.word()? {
        if is_data {
            data.push(word);
            continue;
        }
        push_word(&mut template, &word);
        // The type is the first word that is neither TTL nor class.
        is_data =
            !word.text.first().is_some_and(u8::is_ascii_digit) && wire::Class::from_text(word.text).is_none();
    }
    if let [all] = data.as_slice()
        && all.is_quoted
    {
        template.push(b' ');
        // `\"` gives a quote of the data; other escapes are the data's own.
        let mut octets = all.text.iter().peekable();
        while let Some(&octet) = octets.next() {
            if octet == b'\\' && octets.peek() == Some(&&b'"') {
                continue;
            }
            template.push(octet);
        }
        return Ok(template);
    }
    if data.is_empty() {
        return Err(Problem::Missing("the data of the records").at(scan.place()));
    }
    data.iter().for_each(|word| push_word(&mut template, word));
    Ok(template)
}

fn push_word(template: &mut Vec<u8>, word: &Word<'_>) {
    let quote: &[u8] = if word.is_quoted { b"\"" } else { b"" };
    template.push(b' ');
    template.extend_from_slice(quote);
    template.extend_from_slice(word.text);
    template.extend_from_slice(quote);
}

fn expand(template: &[u8], value: u32, line: &mut Vec<u8>) -> Result<(), Problem> {
    let mut rest = template;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        match (octet, tail) {
            (b'\\', [b'$', tail @ ..]) => {
                line.push(b'$');
                rest = tail;
            }
            (b'\\', [escaped, tail @ ..]) => {
                line.extend_from_slice(&[b'\\', *escaped]);
                rest = tail;
            }
            (b'$', [b'{', tail @ ..]) => {
                let is_end = |octet: &u8| matches!(octet, b'}' | b' ');
                let modifier = &tail[..tail.iter().position(is_end).unwrap_or(tail.len())];
                rest = &tail[modifier.len()..];
                let closed = rest.strip_prefix(b"}");
                let parts = closed.and_then(|_| modifiers(modifier));
                let (offset, width, base) =
                    parts.ok_or_else(|| Problem::GenerateModifier(excerpt(modifier)))?;
                let number = i64::from(value) + offset;
                let number = u64::try_from(number).map_err(|_| Problem::GenerateNegative(number))?;
                push_number(line, number, width, base);
                rest = closed.unwrap_or_default();
            }
            (b'$', _) => push_number(line, u64::from(value), 0, b'd'),
            _ => line.push(octet),
        }
    }
    Ok(())
}

/// Offset, width and base of `offset[,width[,base]]`.
fn modifiers(text: &[u8]) -> Option<(i64, usize, u8)> {
    const OFFSET_MAX: u32 = i32::MAX as u32;
    let mut parts = text.split(|&octet| octet == b',');
    let offset = parts.next()?;
    let offset = match offset.strip_prefix(b"-") {
        Some(digits) => -i64::from(number::decimal(digits, OFFSET_MAX)?),
        None => i64::from(number::decimal(offset.strip_prefix(b"+").unwrap_or(offset), OFFSET_MAX)?),
    };
    let width = parts.next().map_or(Some(0), |width| number::decimal(width, WIDTH_MAX))?;
    let base = match parts.next() {
        None => b'd',
        Some(&[base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')]) => base,
        Some(_) => return None,
    };
    parts.next().is_none().then_some((offset, width as usize, base)) // at most 255
}

fn push_number(line: &mut Vec<u8>, number: u64, width: usize, base: u8) {
    // Writing to a Vec can't fail.
    let _ = match base {
        b'd' => write!(line, "{number:0width$}"),
        b'o' => write!(line, "{number:0width$o}"),
        b'x' => write!(line, "{number:0width$x}"),
        b'X' => write!(line, "{number:0width$X}"),
        _ => {
            push_nibbles(line, number, width, base == b'N');
            Ok(())
        }
    };
}

/// The digits from the lowest on, with dots between, until number and width are used up.
fn push_nibbles(line: &mut Vec<u8>, mut number: u64, width: usize, is_upper: bool) {
    let mut written = 0;
    loop {
        let digits: &[u8; 16] = if is_upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        line.push(digits[(number & 15) as usize]);
        number >>= 4;
        written += 1;
        if number == 0 && written >= width {
            return;
        }
        line.push(b'.');
        written += 1;
        if number == 0 && written >= width {
            return; // an even width ends in a dot, as in BIND
        }
    }
}
