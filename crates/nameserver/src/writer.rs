//! Putting a response together from record sets that are already in wire form.

use table::{Links, Node, Part, Rrset};
use wire::message::{HEADER_LEN, POINTER, POINTER_MAX, label_count, skip_labels};

/// Which count of the header a record goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// Whether signatures go along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signatures {
    With,
    Without,
}

/// Where the owner of a set is in the message.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    /// At this offset, so that a pointer does.
    At(usize),
    /// Not yet: so many octets of its labels have to be written, and a pointer to where the rest of it stands.
    Literal { labels_len: usize, rest_at: usize },
}

impl Owner {
    /// Octets of labels to write, and where the rest of the name is.
    pub(crate) fn parts(self) -> (usize, usize) {
        match self {
            Owner::At(at) => (0, at),
            Owner::Literal { labels_len, rest_at } => (labels_len, rest_at),
        }
    }
}

/// What was appended.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    /// Where the records start; with a literal owner, two octets before the first record's type.
    pub(crate) at: usize,
    /// Octets of the records in front of the signatures.
    pub(crate) rotated_by: usize,
}

/// The set doesn't fit into what is left of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// A point on the way of a response.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    len: usize,
    counts: [u16; 3],
}

/// A response in the making.
pub(crate) struct Writer<'b> {
    pub(crate) octets: &'b mut [u8],
    pub(crate) len: usize,
    /// What the message may have at most, the OPT record not counted.
    limit: usize,
    counts: [u16; 3],
    /// Where the apex stands in the question; the question's name is always below the apex of the zone that
    /// answers it.
    pub(crate) apex_at: usize,
    apex_len: usize,
    apex_labels: usize,
    question_end: usize,
}

impl<'b> Writer<'b> {
    /// Starts after the question, which is in place already.
    #[inline]
    pub(crate) fn new(octets: &'b mut [u8], question_end: usize, limit: usize) -> Writer<'b> {
        let limit = limit.min(octets.len());
        Writer {
            octets,
            len: question_end,
            limit,
            counts: [0; 3],
            apex_at: 0,
            apex_len: 0,
            apex_labels: 0,
            question_end,
        }
    }

    /// Leaves so many octets more at the end than it would.
    pub(crate) fn keep_room(&mut self, octets: usize) {
        self.limit = self.limit.saturating_sub(octets);
    }

    /// Says which zone answers.
    #[inline]
    pub(crate) fn set_apex(&mut self, apex_at: usize, apex_len: usize, apex_labels: usize) {
        self.apex_at = apex_at;
        self.apex_len = apex_len;
        self.apex_labels = apex_labels;
    }

    /// Takes back everything but the question.
    pub(crate) fn take_back(&mut self) {
        self.reset(Mark { len: self.question_end, counts: [0; 3] });
    }

    /// Whether nothing was appended yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == self.question_end
    }

    #[inline]
    pub(crate) fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// Appends a set of `node`, the records from the one with index `first` on, then those before it.
    #[inline]
    pub(crate) fn rrset(
        &mut self,
        section: Section,
        node: Node<'_>,
        rrset: Rrset<'_>,
        owner: Owner,
        signatures: Signatures,
        first: usize,
    ) -> Result<Placed, Full> {
        if let Owner::At(owner_at) = owner
            && first == 0
            && !rrset.has_fixups()
        {
            return self.unlinked(section, rrset, owner_at, signatures);
        }
        let (records, sigs, count) = parts(rrset, signatures);
        let (start, owner_at) = match owner {
            Owner::At(at) => (self.len, at),
            Owner::Literal { labels_len, rest_at } => {
                self.literal_owner(&node.relative_name()[..labels_len], rest_at, records.len() + sigs.len())?
            }
        };
        let end = start + records.len() + sigs.len();
        if end > self.limit {
            return Err(Full);
        }
        // A literal owner stands where the first record's pointer would be.
        let skip = if let Owner::Literal { .. } = owner { 2 } else { 0 };
        let rotated_by = if first == 0 { 0 } else { offset_of(rrset, first) };
        let target = &mut self.octets[start..end];
        if rotated_by == 0 {
            copy(&mut target[skip..records.len()], &records[skip..]);
        } else {
            let (head, tail) = records.split_at(rotated_by);
            target[..tail.len()].copy_from_slice(tail);
            target[tail.len()..records.len()].copy_from_slice(head);
        }
        copy(&mut target[records.len()..], sigs);
        if owner_at != HEADER_LEN {
            set_owners(target, owner_at, owner);
        }
        self.len = end;
        self.counts[section as usize] += count;
        let placed = Placed { at: start, rotated_by };
        if rrset.has_fixups() {
            self.adapt(node, rrset.links(), records.len(), owner_at, placed);
        }
        Ok(placed)
    }

    /// Appends the name servers of a delegation to the authority section; the cut's name stands at `cut_at`.
    #[inline]
    pub(crate) fn delegation(
        &mut self,
        cut: Node<'_>,
        ns: Rrset<'_>,
        links: Links<'_>,
        cut_at: usize,
    ) -> Result<Placed, Full> {
        let records = ns.records();
        let start = self.len;
        let end = start + records.len();
        if end > self.limit {
            return Err(Full);
        }
        let target = &mut self.octets[start..end];
        copy(target, records);
        set_owners(target, cut_at, Owner::At(cut_at));
        self.len = end;
        self.counts[Section::Authority as usize] += ns.count();
        let placed = Placed { at: start, rotated_by: 0 };
        self.adapt(cut, links, records.len(), cut_at, placed);
        Ok(placed)
    }

    /// Appends a set whose data has no names that are compressed, so that its owners are all that depends on where it
    /// stands: addresses, most of the time.
    #[inline]
    pub(crate) fn unlinked(
        &mut self,
        section: Section,
        rrset: Rrset<'_>,
        owner_at: usize,
        signatures: Signatures,
    ) -> Result<Placed, Full> {
        let (records, sigs, count) = parts(rrset, signatures);
        if section != Section::Answer && self.octets[owner_at] == 0 {
            return self.root_rrset(section, records, sigs, count);
        }
        let start = self.len;
        let end = start + records.len() + sigs.len();
        if end > self.limit {
            return Err(Full);
        }
        let target = &mut self.octets[start..end];
        let (data, signed) = target.split_at_mut(records.len());
        copy(data, records);
        copy(signed, sigs);
        if owner_at != HEADER_LEN {
            set_owners(target, owner_at, Owner::At(owner_at));
        }
        self.len = end;
        self.counts[section as usize] += count;
        Ok(Placed { at: start, rotated_by: 0 })
    }

    /// Appends a part of the authority section that was made with the table.
    #[inline]
    pub(crate) fn part(&mut self, part: Part<'_>) -> Result<(), Full> {
        let start = self.len;
        let end = start + part.octets.len();
        // Beyond a pointer's reach come only records without pointers among themselves: see `is_in_reach`.
        if end > self.limit {
            return Err(Full);
        }
        let target = &mut self.octets[start..end];
        copy(target, part.octets);
        let apex = (POINTER | self.apex_at as u16).to_be_bytes();
        for at in part.apex_pointers() {
            target[at..at + 2].copy_from_slice(&apex);
        }
        for at in part.inner_pointers() {
            let moved = u16::from_be_bytes([target[at], target[at + 1]]) + start as u16;
            target[at..at + 2].copy_from_slice(&moved.to_be_bytes());
        }
        self.len = end;
        self.counts[Section::Authority as usize] += part.records;
        Ok(())
    }

    /// Appends addresses whose owners are names in the records that start at `records_at`; where they don't all fit,
    /// those that do.
    pub(crate) fn glue(&mut self, count: u16, glue: &[u8], records_at: usize) -> Result<(), Full> {
        let start = self.len;
        let end = start + glue.len();
        // No owner stands beyond what precedes the glue.
        if end > self.limit || start > POINTER_MAX {
            return self.some_glue(glue, records_at);
        }
        let target = &mut self.octets[start..end];
        copy(target, glue);
        let mut rest = target;
        while let Some(head) = rest.first_chunk_mut::<12>() {
            let owner = u16::from_be_bytes([head[0], head[1]]).wrapping_add(records_at as u16);
            head[..2].copy_from_slice(&owner.to_be_bytes());
            let len = 12 + usize::from(u16::from_be_bytes([head[10], head[11]]));
            rest = rest.get_mut(len..).unwrap_or_default();
        }
        self.len = end;
        self.counts[Section::Additional as usize] += count;
        Ok(())
    }

    /// Appends the addresses that there is room for.
    #[cold]
    fn some_glue(&mut self, glue: &[u8], records_at: usize) -> Result<(), Full> {
        let mut rest = glue;
        while let Some(head) = rest.first_chunk::<12>() {
            let (record, after) = rest.split_at(12 + usize::from(u16::from_be_bytes([head[10], head[11]])));
            let owner = records_at + usize::from(u16::from_be_bytes([head[0], head[1]]) & !POINTER);
            if owner > POINTER_MAX {
                return Err(Full);
            }
            self.record(Section::Additional, &[&(POINTER | owner as u16).to_be_bytes(), &record[2..]])?;
            rest = after;
        }
        Ok(())
    }

    /// What to come back to with [`Writer::reset`].
    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        Mark { len: self.len, counts: self.counts }
    }

    /// Takes back what was appended since.
    pub(crate) fn reset(&mut self, mark: Mark) {
        self.len = mark.len;
        self.counts = mark.counts;
    }

    /// Appends records that the root owns: their owner takes one octet, where a pointer takes two.
    #[cold]
    fn root_rrset(
        &mut self,
        section: Section,
        records: &[u8],
        sigs: &[u8],
        count: u16,
    ) -> Result<Placed, Full> {
        let start = self.len;
        let end = start + records.len() + sigs.len() - usize::from(count);
        if end > self.limit {
            return Err(Full);
        }
        for mut rest in [records, sigs] {
            while let Some(head) = rest.first_chunk::<12>() {
                let (record, after) =
                    rest.split_at(12 + usize::from(u16::from_be_bytes([head[10], head[11]])));
                self.octets[self.len] = 0;
                self.octets[self.len + 1..self.len + record.len() - 1].copy_from_slice(&record[2..]);
                self.len += record.len() - 1;
                rest = after;
            }
        }
        self.counts[section as usize] += count;
        Ok(Placed { at: start, rotated_by: 0 })
    }

    /// Writes an owner: labels, and a pointer to the rest of it. Returns where its last two octets are, which is
    /// where the records start as if they had their own owner field, and where the owner is.
    fn literal_owner(&mut self, labels: &[u8], rest_at: usize, more: usize) -> Result<(usize, usize), Full> {
        let at = self.len;
        let labels_end = at + labels.len();
        if labels_end + 2 + more > self.limit {
            return Err(Full);
        }
        self.octets[at..labels_end].copy_from_slice(labels);
        let owner_end = if self.octets[rest_at] == 0 {
            // The rest is the root: one octet, where a pointer has two.
            self.octets[labels_end] = 0;
            labels_end + 1
        } else {
            let pointer = POINTER | rest_at as u16;
            self.octets[labels_end..labels_end + 2].copy_from_slice(&pointer.to_be_bytes());
            labels_end + 2
        };
        Ok((owner_end - 2, at))
    }

    /// The shortest way to write the name that is `relative` above the apex, given the name at `name_at`, which is
    /// in the same zone: a pointer to it or to a part of it, or as many labels as the two don't share.
    pub(crate) fn owner_beside(&self, relative: &[u8], name_at: usize) -> Owner {
        let mut starts = [0u8; 128];
        let mut labels = 0;
        let mut at = 0;
        while at < relative.len() {
            starts[labels & 127] = at as u8;
            labels += 1;
            at += 1 + usize::from(relative[at]);
        }
        let count = label_count(self.octets, name_at).saturating_sub(self.apex_labels);
        let mut best = (relative.len(), self.apex_at);
        for shared in 1..=labels.min(count) {
            let start = usize::from(starts[labels - shared]);
            let Some(there) = skip_labels(self.octets, name_at, count - shared) else { break };
            let len = 1 + usize::from(relative[start]);
            let same = self.octets.get(there..there + len);
            if !same.is_some_and(|same| same.eq_ignore_ascii_case(&relative[start..start + len])) {
                break;
            }
            best = (start, there);
        }
        let (labels_len, rest_at) = best;
        if labels_len == 0 { Owner::At(rest_at) } else { Owner::Literal { labels_len, rest_at } }
    }

    /// Rewrites the pointers in the data of a set that stands elsewhere than its node foresaw.
    #[inline]
    fn adapt(&mut self, node: Node<'_>, links: Links<'_>, len: usize, owner_at: usize, placed: Placed) {
        let foreseen_at = HEADER_LEN + node.relative_len() + self.apex_len + 4;
        if owner_at + node.relative_len() == self.apex_at && placed.rotated_by == 0 {
            // The node's own name stands in the question: everything in it is as far from where it was foreseen.
            let target = &mut self.octets[placed.at..self.len];
            let (by, inner_by) = (owner_at - HEADER_LEN, placed.at - foreseen_at.min(placed.at));
            if by != 0 {
                links.owner.iter().for_each(|at| shift(target, at, by));
                links.apex.iter().for_each(|at| shift(target, at, by));
            }
            if inner_by != 0 {
                links.inner.iter().for_each(|at| shift(target, at, inner_by));
            }
            return;
        }
        self.adapt_elsewhere(node, links, len, owner_at, placed);
    }

    /// As [`Writer::adapt`], for a name that is not the node's own, or not in the question.
    fn adapt_elsewhere(
        &mut self,
        node: Node<'_>,
        links: Links<'_>,
        len: usize,
        owner_at: usize,
        placed: Placed,
    ) {
        let place = |at: &[u8; 2]| {
            let at = usize::from(u16::from_le_bytes(*at));
            placed.at
                + if at >= placed.rotated_by { at - placed.rotated_by } else { at + len - placed.rotated_by }
        };
        for at in links.owner.iter().map(place) {
            let foreseen = usize::from(u16::from_be_bytes([self.octets[at], self.octets[at + 1]]) & !POINTER);
            let target = self.part_of_owner(node, owner_at, foreseen.saturating_sub(HEADER_LEN));
            self.octets[at..at + 2].copy_from_slice(&(POINTER | target as u16).to_be_bytes());
        }
        let apex = (POINTER | self.apex_at as u16).to_be_bytes();
        for at in links.apex.iter().map(place) {
            self.octets[at..at + 2].copy_from_slice(&apex);
        }
        for at in links.inner.iter().map(place) {
            let target = usize::from(u16::from_be_bytes([self.octets[at], self.octets[at + 1]]) & !POINTER);
            // Within a pointer's reach: see `fits_pointers`.
            let foreseen_at = HEADER_LEN + node.relative_len() + self.apex_len + 4;
            let moved = POINTER | (target + placed.at).saturating_sub(foreseen_at) as u16;
            self.octets[at..at + 2].copy_from_slice(&moved.to_be_bytes());
        }
    }

    /// Where the part of a node's name stands that begins after `skip` octets, given that the name it answers for,
    /// its own or one that a wildcard made, is at `owner_at`.
    fn part_of_owner(&self, node: Node<'_>, owner_at: usize, skip: usize) -> usize {
        let part = &node.relative_name()[skip.min(node.relative_len())..];
        if owner_at < self.question_end {
            return self.apex_at - part.len();
        }
        let mut labels = self.apex_labels;
        let mut at = 0;
        while at < part.len() {
            labels += 1;
            at += 1 + usize::from(part[at]);
        }
        let before = label_count(self.octets, owner_at).saturating_sub(labels);
        skip_labels(self.octets, owner_at, before).unwrap_or(self.apex_at)
    }

    /// Whether names that are appended from here on can still be pointed to.
    pub(crate) fn is_in_reach(&self) -> bool {
        self.len <= POINTER_MAX - INNER_REACH
    }

    /// Where the question ends.
    #[inline]
    pub(crate) fn question_end(&self) -> usize {
        self.question_end
    }

    /// Appends octets that are a whole record, for what no table holds.
    pub(crate) fn record(&mut self, section: Section, parts: &[&[u8]]) -> Result<usize, Full> {
        let start = self.len;
        let end = start + parts.iter().map(|part| part.len()).sum::<usize>();
        if end > self.limit {
            return Err(Full);
        }
        for part in parts {
            self.octets[self.len..self.len + part.len()].copy_from_slice(part);
            self.len += part.len();
        }
        self.counts[section as usize] += 1;
        Ok(start)
    }
}

/// How far into a set its inner pointers lead at most: the compiler's bound.
const INNER_REACH: usize = 4200;

/// Copies octets of equal length. Most pieces of an answer have 16 to 64, for which a call costs more than the copy:
/// they are moved in blocks from both ends that overlap in the middle.
#[inline]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    let len = from.len();
    if (16..=64).contains(&len) && to.len() == len {
        let back = len - 16;
        let block = |at: usize| -> [u8; 16] { from[at..].first_chunk().copied().unwrap_or_default() };
        let (first, last) = (block(0), block(back));
        if len > 32 {
            let (second, third) = (block(16), block(back - 16));
            to[16..32].copy_from_slice(&second);
            to[back - 16..back].copy_from_slice(&third);
        }
        to[..16].copy_from_slice(&first);
        to[back..].copy_from_slice(&last);
    } else {
        to.copy_from_slice(from);
    }
}

/// The records of a set, the signatures that go along, and how many records that makes.
#[inline]
fn parts<'t>(rrset: Rrset<'t>, signatures: Signatures) -> (&'t [u8], &'t [u8], u16) {
    match signatures {
        Signatures::With => (rrset.records(), rrset.signatures(), rrset.count() + rrset.signature_count()),
        Signatures::Without => (rrset.records(), &[], rrset.count()),
    }
}

/// Points the owners of records to `owner_at`, but for the first where it is written out.
#[inline]
fn set_owners(records: &mut [u8], owner_at: usize, owner: Owner) {
    let pointer = (POINTER | owner_at as u16).to_be_bytes();
    let mut is_written = matches!(owner, Owner::Literal { .. });
    let mut rest = records;
    while let Some(head) = rest.first_chunk_mut::<12>() {
        if !is_written {
            head[..2].copy_from_slice(&pointer);
        }
        is_written = false;
        let len = 12 + usize::from(u16::from_be_bytes([head[10], head[11]]));
        rest = rest.get_mut(len..).unwrap_or_default();
    }
}

/// Makes the pointer at this fix-up lead so much further.
#[inline]
fn shift(records: &mut [u8], at: &[u8; 2], by: usize) {
    let at = usize::from(u16::from_le_bytes(*at));
    if let Some(octets) = records.get_mut(at..at + 2) {
        let moved = u16::from_be_bytes([octets[0], octets[1]]).wrapping_add(by as u16);
        octets.copy_from_slice(&moved.to_be_bytes());
    }
}

/// Where the record with this index starts.
#[inline]
fn offset_of(rrset: Rrset<'_>, index: usize) -> usize {
    if rrset.stride() != 0 {
        return rrset.stride() * index;
    }
    let records = rrset.records();
    let mut at = 0;
    for _ in 0..index {
        at += 12 + usize::from(u16::from_be_bytes([records[at + 10], records[at + 11]]));
    }
    at
}
