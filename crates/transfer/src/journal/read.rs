//! Reading a journal: where its differences are, and their records.

use super::{
    CHECKSUM_LEN, CONTENT_MAX, Checksum, DIGEST_LEN, Damage, FIXED_LEN, FORMAT, MAGIC, Mark, PREFIX_LEN,
    Version, finished, start,
};
use std::collections::VecDeque;
use std::io::{self, Read};
use wire::Name;
use wire::message::u32_at;
use zone::{Difference, RecordList, RecordRef};

/// How much is read at a time: what a disk gives in one piece, and little beside what a message takes.
const CHUNK: usize = 64 << 10;
/// Octets of the longest record: owner, fixed part, data.
const RECORD_MAX: usize = 255 + 10 + 65_535;
/// Octets of a heading before the apex.
const APEX_AT: usize = 8 + 4 + 4 + DIGEST_LEN + 1;

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Damage {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Damage::Torn,
            kind => Damage::Unreadable(kind),
        }
    }
}

/// Reads a journal of the zone `apex` to its end, or to the first frame that isn't whole: the marks at its beginning and
/// behind each difference, the last `marks_max` of them, and what is wrong behind the last.
///
/// # Errors
/// It is no journal of that zone.
pub fn scan(
    mut reader: impl Read,
    apex: Name<'_>,
    marks_max: usize,
) -> Result<(VecDeque<Mark>, Option<Damage>), Damage> {
    let mut mark = read_heading(&mut reader, apex)?;
    let mut marks = VecDeque::from([mark]);
    let mut chunk = vec![0; CHUNK];
    loop {
        match read_over(&mut reader, &mark, &mut chunk) {
            Ok(Some(next)) => mark = next,
            Ok(None) => return Ok((marks, None)),
            Err(damage) => return Ok((marks, Some(damage))),
        }
        if marks.len() >= marks_max.max(1) {
            marks.pop_front();
        }
        marks.push_back(mark);
    }
}

/// The difference of a whole frame that stands behind `before`.
///
/// # Errors
/// It isn't that.
pub fn difference(frame: &[u8], before: &Mark) -> Result<Difference, Damage> {
    let mut rest = frame;
    let FrameStart { content_len, checksum, version, removed_len, mut hasher } =
        FrameStart::read(&mut rest, before)?.ok_or(Damage::Torn)?;
    if rest.len() != content_len - FIXED_LEN {
        return Err(Damage::Torn);
    }
    if finished(hasher.update(rest)) != checksum {
        return Err(Damage::Checksum);
    }
    let (removed, added) = rest.split_at(removed_len);
    let list = |octets: &[u8]| RecordList::from_octets(octets.to_vec()).map_err(|_| Damage::Malformed);
    let (removed, added) = (list(removed)?, list(added)?);
    Ok(Difference { from: before.version.serial, to: version.serial, removed, added })
}

fn read_heading(reader: &mut impl Read, apex: Name<'_>) -> Result<Mark, Damage> {
    let no_journal = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::OtherFile,
        kind => Damage::Unreadable(kind),
    };
    let mut octets = vec![0; APEX_AT + apex.len() + CHECKSUM_LEN];
    reader.read_exact(&mut octets).map_err(no_journal)?;
    let (said, checksum) = octets.split_at(APEX_AT + apex.len());
    let is_ours = said.starts_with(MAGIC)
        && u32_at(said, 8) == Some(FORMAT)
        && usize::from(said[APEX_AT - 1]) == apex.len()
        && said[APEX_AT..].eq_ignore_ascii_case(apex.as_wire());
    let expected = finished(&start(said));
    if !is_ours || expected.0 != checksum {
        return Err(Damage::OtherFile);
    }
    let version = read_version(&said[12..]);
    Ok(Mark { version, at: octets.len() as u64, checksum: expected })
}

/// A serial and a digest, which are there.
fn read_version(octets: &[u8]) -> Version {
    let mut digest = [0; DIGEST_LEN];
    digest.copy_from_slice(&octets[4..4 + DIGEST_LEN]);
    Version { serial: u32_at(octets, 0).unwrap_or_default(), digest }
}

/// Reads a frame behind `before` without keeping it, and gives the mark behind it; `None` at the end.
fn read_over(reader: &mut impl Read, before: &Mark, chunk: &mut [u8]) -> Result<Option<Mark>, Damage> {
    let Some(mut frame) = FrameStart::read(reader, before)? else { return Ok(None) };
    let mut left = frame.content_len - FIXED_LEN;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK)];
        reader.read_exact(part)?;
        frame.hasher.update(part);
        left -= part.len();
    }
    if finished(&frame.hasher) != frame.checksum {
        return Err(Damage::Checksum);
    }
    let at = before.at + (PREFIX_LEN + frame.content_len) as u64;
    Ok(Some(Mark { version: frame.version, at, checksum: frame.checksum }))
}

/// What a frame says before its records.
struct FrameStart {
    content_len: usize,
    checksum: Checksum,
    version: Version,
    removed_len: usize,
    /// Has what was read.
    hasher: blake3::Hasher,
}

impl FrameStart {
    /// Reads it behind `before`; `None` at the end.
    fn read(reader: &mut impl Read, before: &Mark) -> Result<Option<FrameStart>, Damage> {
        let mut octets = [0; PREFIX_LEN + FIXED_LEN];
        if !read_one(reader, &mut octets)? {
            return Ok(None);
        }
        reader.read_exact(&mut octets[1..])?;
        let (prefix, fixed) = octets.split_at(PREFIX_LEN);
        let number = |octets: &[u8], at| u32_at(octets, at).unwrap_or_default() as usize;
        let (content_len, removed_len) = (number(prefix, 0), number(fixed, FIXED_LEN - 4));
        let is_possible = (FIXED_LEN..=CONTENT_MAX).contains(&content_len)
            && removed_len <= content_len - FIXED_LEN
            && u32_at(fixed, 0) == Some(before.version.serial);
        if !is_possible {
            return Err(Damage::Malformed);
        }
        let mut checksum = [0; CHECKSUM_LEN];
        checksum.copy_from_slice(&prefix[4..]);
        let mut hasher = start(&before.checksum.0);
        hasher.update(&prefix[..4]).update(fixed);
        let version = read_version(&fixed[4..]);
        Ok(Some(FrameStart { content_len, checksum: Checksum(checksum), version, removed_len, hasher }))
    }
}

/// Reads the first octet; whether there is one.
fn read_one(reader: &mut impl Read, octets: &mut [u8]) -> Result<bool, Damage> {
    loop {
        match reader.read(&mut octets[..1]) {
            Ok(len) => return Ok(len == 1),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The records of the differences between two marks, in the order that an incremental transfer has them in: of each
/// difference those removed, then those added.
///
/// A difference's checksum is known to be right when its last record has been given: who passes records on must not
/// have said by then that this was all.
pub struct Records<R> {
    reader: R,
    /// Behind the last frame that was begun.
    mark: Mark,
    end: u64,
    frame: Option<FrameStart>,
    /// Octets of the frame that are still to be read.
    ahead: usize,
    buffer: Vec<u8>,
    /// How much of the buffer has been given.
    given: usize,
}

impl<R: Read> Records<R> {
    /// What `reader` gives from `from.at` on, up to `to.at`.
    pub fn new(reader: R, from: Mark, to: Mark) -> Records<R> {
        Records { reader, mark: from, end: to.at, frame: None, ahead: 0, buffer: Vec::new(), given: 0 }
    }

    /// The next record; `None` after the last.
    ///
    /// # Errors
    /// The journal isn't what it was when the marks were made.
    pub fn next_record(&mut self) -> Result<Option<RecordRef<'_>>, Damage> {
        let len = loop {
            if let Some((_, rest)) = RecordRef::split_from(&self.buffer[self.given..]) {
                break self.buffer.len() - self.given - rest.len();
            }
            if self.ahead > 0 {
                self.fill()?;
            } else if self.given < self.buffer.len() {
                return Err(Damage::Malformed);
            } else if !self.next_frame()? {
                return Ok(None);
            }
        };
        let record = &self.buffer[self.given..self.given + len];
        self.given += len;
        Ok(RecordRef::split_from(record).map(|(record, _)| record))
    }

    fn fill(&mut self) -> Result<(), Damage> {
        let waiting = self.buffer.len() - self.given;
        if waiting >= RECORD_MAX {
            return Err(Damage::Malformed);
        }
        self.buffer.drain(..self.given);
        self.given = 0;
        let len = self.ahead.min(CHUNK);
        self.buffer.resize(waiting + len, 0);
        self.reader.read_exact(&mut self.buffer[waiting..])?;
        self.ahead -= len;
        if let Some(frame) = &mut self.frame {
            frame.hasher.update(&self.buffer[waiting..]);
        }
        Ok(())
    }

    /// Concludes a frame and begins the next; whether there is one.
    fn next_frame(&mut self) -> Result<bool, Damage> {
        if let Some(frame) = self.frame.take() {
            if finished(&frame.hasher) != frame.checksum {
                return Err(Damage::Checksum);
            }
            let at = self.mark.at + (PREFIX_LEN + frame.content_len) as u64;
            self.mark = Mark { version: frame.version, at, checksum: frame.checksum };
        }
        if self.mark.at >= self.end {
            return Ok(false);
        }
        let frame = FrameStart::read(&mut self.reader, &self.mark)?.ok_or(Damage::Torn)?;
        self.ahead = frame.content_len - FIXED_LEN;
        self.frame = Some(frame);
        Ok(true)
    }
}
