//! Writing an image: nodes one after the other in canonical order, then the index over them.

use crate::denial::Nsec3Hash;
use crate::digest;
use crate::format::{
    BUCKET_LEN, BUCKET_REFS, BUCKET_SLOTS, BUCKET_SPILL, CHAIN_MAX, ContentDigest, HEADER_LEN, ImageFlags,
    MAGIC, NODE_EXTRA, NODE_FIXED, NodeFlags, NodeRef, RRSET_FIXED, RrsetFlags, SourceStamp, VERSION, header,
    padded, sort_prefix,
};
use crate::hash::{self, Key, State};
use crate::map::Backing;
use crate::node::Node;
use crate::overlay::{BASE_MAX, Counts, Overlaid};
use crate::parallel;
use crate::part::{self, NegativeSoa};
use crate::table::Table;
use crate::variants::Variants;
use crate::verify::ImageError;
use std::io;
use std::sync::Arc;
use wire::{FoldedName, Name, NameBuf, RecordType};

/// The most additional iterations of NSEC3 that a chain may have: RFC 5155 §10.3 for the largest keys. RFC 9276
/// §3.1 wants 0; every iteration costs the packet path about 60 ns.
pub const ITERATIONS_MAX: u16 = 2500;
/// The most record types at one name.
const RRSETS_MAX: usize = 255;
/// Names a bucket holds on average, of twelve: fuller ones spill into the next, emptier ones cost memory
/// (6.7 octets a name at 9.6).
const BUCKET_FILL_TENTHS: usize = 96;
/// Octets that a name takes beside its records, usually: itself, the heads of a set or two, and its place in the index.
const NAME_OCTETS: usize = 64;
/// How many keys are tried before the builder gives up; one chain over the bound in a million tables is expected.
const KEYS_MAX: u64 = 64;

/// Why an image can't be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The zone doesn't fit the format's four-octet references.
    #[error("the table would be larger than 16 GiB")]
    TooLarge,
    /// A name owns more record sets than a node can have.
    #[error("{0} owns more than 255 record types")]
    TooManyTypes(Box<NameBuf>),
    /// A set is larger than any message can carry.
    #[error("the {1} records at {0} have more than 65,535 octets together and fit no message")]
    SetTooLarge(Box<NameBuf>, RecordType),
    /// Sets of which answers have one are no good sets, or what decides between them leads to none.
    #[error("the sets that answers choose from don't fit together")]
    Variants,
    /// No key gave short chains.
    #[error("no hash key spreads the names")]
    Chains,
    /// No memory.
    #[error("no memory for the table: {0}")]
    Memory(#[from] io::Error),
    /// The image that was made doesn't pass the check: a defect of this program.
    #[error("the table that was made is not valid: {0}")]
    Invalid(#[from] ImageError),
}

/// The position of a node in the order of building, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeIndex {
    /// No node.
    None,
    /// A name of the zone.
    Name(u32),
    /// An owner of NSEC3 records.
    Nsec3(u32),
    /// In an overlay: a node of the base, which is as it was.
    Base(NodeRef),
}

/// A node to be built; its record sets follow with [`Builder::rrset`].
#[derive(Clone, Copy)]
pub struct NodeSpec<'a> {
    /// The name relative to the apex: lower-case labels without the root's octet.
    pub relative: &'a [u8],
    /// What the node is; `EXTRA` is set by the builder.
    pub flags: NodeFlags,
    /// Wildcard, cover of the wildcard, NSEC3 match, encloser and cover, as in [`crate::Denial`].
    pub denial: [NodeIndex; 5],
}

/// Where compression pointers stand in the records of a set; octets from their start.
#[derive(Clone, Default, Debug)]
pub struct Fixups {
    /// Pointers to the owner or to a tail of it, other than the owner field of each record.
    pub owner: Vec<u16>,
    /// Pointers to the apex.
    pub apex: Vec<u16>,
    /// Pointers to a name in these same records.
    pub inner: Vec<u16>,
    /// Names whose addresses go with the set where there is room: where, and whose.
    pub additional: Vec<(u16, NodeIndex)>,
}

impl Fixups {
    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.owner.clear();
        self.apex.clear();
        self.inner.clear();
        self.additional.clear();
    }

    fn is_empty(&self) -> bool {
        self.owner.is_empty() && self.apex.is_empty() && self.inner.is_empty() && self.additional.is_empty()
    }
}

/// A record set to be built, in wire form as `node` describes it.
#[derive(Clone, Copy)]
pub struct RrsetSpec<'a> {
    /// The type.
    pub rtype: RecordType,
    /// How many records.
    pub count: usize,
    /// The records, each with the owner C00C.
    pub records: &'a [u8],
    /// How many signatures.
    pub signature_count: usize,
    /// The RRSIG records, each with the owner C00C.
    pub signatures: &'a [u8],
    /// How many addresses go with the set as glue.
    pub glue_count: usize,
    /// Address records in wire form; each owner is a pointer that leads so far behind the start of `records`.
    pub glue: &'a [u8],
    /// The pointers in the records.
    pub fixups: &'a Fixups,
}

#[cfg(test)]
impl<'a> RrsetSpec<'a> {
    /// An A record, for tests of what is around it.
    pub(crate) fn one_address(fixups: &'a Fixups) -> RrsetSpec<'a> {
        RrsetSpec {
            rtype: RecordType::A,
            count: 1,
            records: b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01",
            signature_count: 0,
            signatures: &[],
            glue_count: 0,
            glue: &[],
            fixups,
        }
    }
}

/// Makes an image.
pub struct Builder {
    apex: NameBuf,
    image: Vec<u8>,
    names: Vec<NodeRef>,
    /// How many of the names are cuts or below one.
    delegated: usize,
    nsec3_owners: Vec<NodeRef>,
    nsec3_at: usize,
    open: Option<usize>,
    patches: Vec<(usize, NodeIndex)>,
    variants: Vec<Arc<Variants>>,
    nsec: Vec<NodeRef>,
    nsec3_chain: Vec<(Nsec3Hash, u32)>,
    nsec3_iterations: u16,
    nsec3_salt: Vec<u8>,
    negative_soa: NegativeSoa,
    /// Where the nodes end: the SOA of negative answers comes after them.
    nodes_end: usize,
    flags: ImageFlags,
    serial: u32,
    content: ContentDigest,
    records: u32,
    depth_max: usize,
}

/// Where the parts of an image stand.
struct Sections {
    nodes_end: usize,
    nsec3_end: usize,
    part_at: usize,
    buckets_at: usize,
    nsec_keys_at: usize,
    nsec_refs_at: usize,
    nsec3_at: usize,
    salt_at: usize,
}

impl Builder {
    /// Starts an image for the zone `apex`; about `names` names are expected, with records of `octets` octets.
    pub fn new(apex: Name<'_>, serial: u32, flags: ImageFlags, names: usize, octets: usize) -> Builder {
        let mut lower = NameBuf::from(apex);
        lower.make_lowercase();
        // What is reserved and not used costs nothing; an image that has to grow is there twice for a while.
        let mut image = Vec::with_capacity(HEADER_LEN + NAME_OCTETS * names + octets + octets / 4);
        image.resize(HEADER_LEN, 0);
        Builder {
            apex: lower,
            image,
            names: Vec::with_capacity(names),
            delegated: 0,
            nsec3_owners: Vec::new(),
            nsec3_at: 0,
            open: None,
            patches: Vec::new(),
            variants: Vec::new(),
            nsec: Vec::new(),
            nsec3_chain: Vec::new(),
            nsec3_iterations: 0,
            nsec3_salt: Vec::new(),
            negative_soa: NegativeSoa::default(),
            nodes_end: 0,
            flags,
            serial,
            content: ContentDigest::default(),
            records: 0,
            depth_max: 0,
        }
    }

    /// Sets the parameters of the NSEC3 chain; iterations at most [`ITERATIONS_MAX`], salt at most 255 octets.
    pub fn nsec3_parameters(&mut self, iterations: u16, salt: &[u8]) {
        self.nsec3_iterations = iterations.min(ITERATIONS_MAX);
        self.nsec3_salt = salt[..salt.len().min(255)].to_vec();
    }

    /// Sets the digest of the records.
    pub fn content(&mut self, digest: ContentDigest) {
        self.content = digest;
    }

    /// Begins the next name in canonical order, the apex first; record sets given from now on are its own.
    ///
    /// # Errors
    /// When the image is full.
    pub fn name(&mut self, spec: &NodeSpec<'_>) -> Result<(), BuildError> {
        let depth = labels_in(spec.relative);
        self.depth_max = self.depth_max.max(depth);
        let node = self.begin(spec)?;
        self.names.push(node);
        let is_delegated = spec.flags.has(NodeFlags::CUT) || spec.flags.has(NodeFlags::OCCLUDED);
        self.delegated += usize::from(is_delegated);
        Ok(())
    }

    /// Begins the owner of NSEC3 records; all names of the zone must have been given before. `hash` is its
    /// place in the chain that denies, `None` where it belongs to another chain.
    ///
    /// # Errors
    /// When the image is full.
    pub fn nsec3_owner(&mut self, spec: &NodeSpec<'_>, hash: Option<Nsec3Hash>) -> Result<(), BuildError> {
        if self.nsec3_owners.is_empty() {
            self.nsec3_at = self.image.len();
        }
        if let Some(hash) = hash {
            self.nsec3_chain.push((hash, self.nsec3_owners.len() as u32));
        }
        let node = self.begin(spec)?;
        self.nsec3_owners.push(node);
        Ok(())
    }

    fn begin(&mut self, spec: &NodeSpec<'_>) -> Result<NodeRef, BuildError> {
        let at = self.image.len();
        let node = NodeRef(u32::try_from(at / 4).map_err(|_| BuildError::TooLarge)?);
        let extra = spec.denial.iter().any(|index| *index != NodeIndex::None);
        let flags = if extra { spec.flags.with(NodeFlags::EXTRA) } else { spec.flags };
        let fixed = NODE_FIXED + if extra { NODE_EXTRA } else { 0 };
        let rrsets_at = padded(fixed + spec.relative.len());
        self.image.extend([spec.relative.len() as u8, flags.0, 0, (rrsets_at / 4) as u8]);
        if extra {
            for index in spec.denial {
                if index != NodeIndex::None {
                    self.patches.push((self.image.len(), index));
                }
                self.image.extend([0; 4]);
            }
        }
        self.image.extend_from_slice(spec.relative);
        self.image.resize(at + rrsets_at, 0);
        self.open = Some(at);
        Ok(node)
    }

    /// Adds a record set to the name or NSEC3 owner that was begun last; by ascending type.
    ///
    /// # Errors
    /// When the set is larger than a message, or the name has too many.
    pub fn rrset(&mut self, spec: &RrsetSpec<'_>) -> Result<(), BuildError> {
        self.records += (spec.count + spec.signature_count) as u32;
        self.add(spec, RrsetFlags::NONE)
    }

    /// Adds a record set in the place of which answers have one of these variants; it is for whoever wants all records. It has no
    /// glue, and no pointers in its data. Only an overlay can have it.
    ///
    /// # Errors
    /// As for [`Builder::rrset`]; or there are too many lists of variants.
    pub fn steered_rrset(&mut self, spec: &RrsetSpec<'_>, variants: Arc<Variants>) -> Result<(), BuildError> {
        if !spec.fixups.is_empty() {
            return Err(BuildError::Variants);
        }
        // Where sets with glue have the number of its records.
        let number = u16::try_from(self.variants.len()).map_err(|_| BuildError::Variants)?;
        self.variants.push(variants);
        self.records += (spec.count + spec.signature_count) as u32;
        self.add(&RrsetSpec { glue_count: usize::from(number), glue: &[], ..*spec }, RrsetFlags::STEERED)
    }

    /// Adds the set that was added last once more, beginning with its next record: for sets whose records point to one
    /// another.
    ///
    /// # Errors
    /// As for [`Builder::rrset`].
    pub fn turned_rrset(&mut self, spec: &RrsetSpec<'_>) -> Result<(), BuildError> {
        self.add(spec, RrsetFlags::TURNED)
    }

    fn add(&mut self, spec: &RrsetSpec<'_>, flags: RrsetFlags) -> Result<(), BuildError> {
        let Some(node) = self.open else { return Ok(()) };
        if usize::from(self.image[node + 2]) == RRSETS_MAX {
            return Err(BuildError::TooManyTypes(Box::new(self.full_name(node))));
        }
        self.image[node + 2] += 1;
        let is_nsec_owner = spec.rtype == RecordType::NSEC && self.nsec3_owners.is_empty();
        if is_nsec_owner && !NodeFlags(self.image[node + 1]).has(NodeFlags::OCCLUDED) {
            self.nsec.push(NodeRef((node / 4) as u32));
        }
        if self.append(spec, flags).is_none() {
            return Err(BuildError::SetTooLarge(Box::new(self.full_name(node)), spec.rtype));
        }
        Ok(())
    }

    /// Adds the SOA record as negative answers carry it.
    ///
    /// # Errors
    /// When it is larger than a message.
    pub fn negative_soa(&mut self, spec: &RrsetSpec<'_>) -> Result<(), BuildError> {
        let Ok(signature_count) = u16::try_from(spec.signature_count) else {
            return Err(BuildError::SetTooLarge(Box::new(self.apex.clone()), spec.rtype));
        };
        self.nodes_end = self.image.len();
        self.negative_soa = NegativeSoa {
            records: spec.records.to_vec(),
            signatures: spec.signatures.to_vec(),
            signature_count,
            apex_pointers: spec.fixups.apex.clone(),
        };
        Ok(())
    }

    fn append(&mut self, spec: &RrsetSpec<'_>, flags: RrsetFlags) -> Option<()> {
        let Builder { image, patches, .. } = self;
        append(image, spec, flags, |at, node| patches.push((at, node)))
    }

    fn full_name(&self, node: usize) -> NameBuf {
        let fixed =
            NODE_FIXED + if NodeFlags(self.image[node + 1]).has(NodeFlags::EXTRA) { NODE_EXTRA } else { 0 };
        let at = node + fixed;
        let relative = &self.image[at..at + usize::from(self.image[node])];
        NameBuf::joined(relative, self.apex.as_name()).unwrap_or_else(|_| self.apex.clone())
    }

    /// Completes the image: references, index, chains, digest; and verifies it as a loader would.
    ///
    /// # Errors
    /// When there is no memory, or the names can't be spread over buckets.
    pub fn finish(self, source: SourceStamp) -> Result<Table, BuildError> {
        Ok(Table::from_backing(self.into_backing(None, source)?)?)
    }

    /// Completes the image of an overlay, which stands over `base` from now on. `moved` says which nodes of the base this
    /// image has in their place, `source` what the new version was made from.
    ///
    /// # Errors
    /// As for [`Builder::finish`]; or the base is too large to be referred to, or itself an overlay.
    pub fn finish_over(
        mut self,
        base: Arc<Table>,
        moved: &[(NodeRef, NodeIndex)],
        source: SourceStamp,
    ) -> Result<Table, BuildError> {
        if base.is_overlaid() || base.image().len() > BASE_MAX {
            return Err(BuildError::TooLarge);
        }
        let counts = self.counts_over(&base, moved);
        let mut moved = moved
            .iter()
            .map(|(from, to)| Ok((*from, self.node_at(*to)?)))
            .collect::<Result<Vec<_>, BuildError>>()?;
        moved.sort_unstable();
        self.flags = self.flags.with(if base.flags().has(ImageFlags::DELEGATES) {
            ImageFlags::DELEGATES
        } else {
            ImageFlags::NONE
        });
        let variants = std::mem::take(&mut self.variants).into();
        let base_key = Key::of(base.image());
        let backing = self.into_backing(Some(base_key), source)?;
        let has_key_of_base = Key::of(backing.bytes()) == base_key;
        Table::over(backing, Overlaid { base, has_key_of_base, moved: moved.into(), counts }, variants)
            .map_err(BuildError::Invalid)
    }

    fn counts_over(&self, base: &Table, moved: &[(NodeRef, NodeIndex)]) -> Counts {
        let is_there = |node: &&NodeRef| !NodeFlags(self.image[node.at() + 1]).has(NodeFlags::GONE);
        let names = self.names.iter().filter(is_there).count() as u32;
        let moved_names = moved.iter().filter(|(_, to)| matches!(to, NodeIndex::Name(_))).count() as u32;
        let of_moved = |(node, _): &(NodeRef, NodeIndex)| Node::new(base.image(), *node).record_count();
        Counts {
            names: base.name_count() - moved_names + names,
            records: base.record_count() - moved.iter().map(of_moved).sum::<u32>() + self.records,
        }
    }

    fn into_backing(mut self, preferred: Option<Key>, source: SourceStamp) -> Result<Backing, BuildError> {
        if self.delegated > self.names.len() / 2 {
            self.flags = self.flags.with(ImageFlags::DELEGATES);
        }
        let nodes_end = if self.nsec3_owners.is_empty() { self.nodes_end } else { self.nsec3_at };
        let nsec3_end = self.nodes_end;
        self.patch()?;
        let part_at = self.image.len();
        self.append_negative_part()?;
        self.image.resize(self.image.len().next_multiple_of(BUCKET_LEN), 0);
        let buckets_at = self.image.len();
        let (key, buckets) = self.index(preferred, nodes_end)?;
        let nsec_keys_at = self.image.len();
        self.append_nsec_keys();
        let nsec_refs_at = self.image.len();
        self.image.extend(self.nsec.iter().flat_map(|node| node.0.to_le_bytes()));
        let nsec3_at = self.image.len();
        self.nsec3_chain.sort_unstable();
        for (hash, index) in &self.nsec3_chain {
            self.image.extend_from_slice(hash);
            self.image.extend(self.nsec3_owners[*index as usize].0.to_le_bytes());
        }
        let salt_at = self.image.len();
        self.image.extend_from_slice(&self.nsec3_salt);
        u32::try_from(self.image.len() / 4).map_err(|_| BuildError::TooLarge)?;

        let sections = Sections {
            nodes_end,
            nsec3_end,
            part_at,
            buckets_at,
            nsec_keys_at,
            nsec_refs_at,
            nsec3_at,
            salt_at,
        };
        self.write_header(key, buckets, &sections, source);
        let image = self.image;
        let backing = Backing::filled(image.len(), |octets| octets.copy_from_slice(&image))?;
        drop(image);
        Ok(backing)
    }

    fn write_header(&mut self, key: Key, buckets: u32, sections: &Sections, source: SourceStamp) {
        let image_len = self.image.len() as u64;
        let image = &mut self.image;
        let mut put = |at: usize, octets: &[u8]| image[at..at + octets.len()].copy_from_slice(octets);
        let numbers = [
            (header::VERSION, VERSION),
            (header::HEADER_LEN, HEADER_LEN as u32),
            (header::SERIAL, self.serial),
            (header::FLAGS, self.flags.0),
            (header::NODES, self.names.len() as u32),
            (header::RECORDS, self.records),
            (header::BUCKETS, buckets),
            (header::DEPTH_MAX, self.depth_max as u32),
            (header::APEX_NODE, self.names.first().map_or(0, |node| node.0)),
            (header::NEGATIVE_PART, (sections.part_at / 4) as u32),
            (header::NSEC_COUNT, self.nsec.len() as u32),
            (header::NSEC3_COUNT, self.nsec3_chain.len() as u32),
            (header::NSEC3_NODES, self.nsec3_owners.len() as u32),
        ];
        let places = [
            (header::BUCKETS_AT, sections.buckets_at),
            (header::NODES_AT, HEADER_LEN),
            (header::NODES_END, sections.nodes_end),
            (header::NSEC_KEYS_AT, sections.nsec_keys_at),
            (header::NSEC_REFS_AT, sections.nsec_refs_at),
            (header::NSEC3_AT, sections.nsec3_at),
            (header::NSEC3_NODES_AT, sections.nodes_end),
            (header::NSEC3_NODES_END, sections.nsec3_end),
            (header::SALT_AT, sections.salt_at),
        ];
        put(header::MAGIC, &MAGIC);
        put(header::KEY0, &key.k0.to_le_bytes());
        put(header::KEY1, &key.k1.to_le_bytes());
        put(header::IMAGE_LEN, &image_len.to_le_bytes());
        numbers.iter().for_each(|(at, number)| put(*at, &number.to_le_bytes()));
        places.iter().for_each(|(at, place)| put(*at, &(*place as u64).to_le_bytes()));
        put(header::SOURCE, &source.0);
        put(header::CONTENT, &self.content.0);
        put(header::NSEC3_ITERATIONS, &self.nsec3_iterations.to_le_bytes());
        put(header::SALT_LEN, &[self.nsec3_salt.len() as u8]);
        let apex = self.apex.as_name();
        put(header::APEX_LEN, &[apex.len() as u8]);
        put(header::APEX, apex.as_wire());
        let digest = digest::of(&self.image, parallel::threads_for(self.image.len()));
        self.image[header::DIGEST..header::DIGEST + 32].copy_from_slice(&digest);
    }

    /// What negative answers right below the apex have in common.
    fn append_negative_part(&mut self) -> Result<(), BuildError> {
        let apex = self.names.first().map(|apex| Node::new(&self.image, *apex));
        let (rtype, proofs) = match apex.map(|apex| (apex.reference(), apex.denial())) {
            // A name with nothing below it covers the wildcard itself.
            Some((apex, denial)) if self.flags.has(ImageFlags::NSEC) && denial.wildcard.is_none() => {
                let no_wildcard = if denial.no_wildcard.is_none() { apex } else { denial.no_wildcard.to };
                (RecordType::NSEC, [no_wildcard, NodeRef::NONE])
            }
            Some((_, denial))
                if self.flags.has(ImageFlags::NSEC3)
                    && !denial.no_wildcard.is_none()
                    && !denial.nsec3_match.is_none() =>
            {
                let (first, second) = (denial.nsec3_match.to, denial.no_wildcard.to);
                (RecordType::NSEC3, [first, if second == first { NodeRef::NONE } else { second }])
            }
            _ => (RecordType::NSEC, [NodeRef::NONE; 2]),
        };
        // A part has the records of its own image alone; without proofs in it answers are put together from records.
        let is_here = proofs.iter().all(|node| node.of_base().is_none());
        let proofs = if is_here { proofs } else { [NodeRef::NONE; 2] };
        let root = self.apex.as_name().is_root();
        let part = part::draft(&self.image, root, &self.negative_soa, rtype, proofs)
            .ok_or_else(|| BuildError::SetTooLarge(Box::new(self.apex.clone()), RecordType::SOA))?;
        self.image.extend_from_slice(&part);
        Ok(())
    }

    fn patch(&mut self) -> Result<(), BuildError> {
        for (at, index) in &self.patches {
            let node = self.node_at(*index)?;
            self.image[*at..at + 4].copy_from_slice(&node.0.to_le_bytes());
        }
        Ok(())
    }

    fn node_at(&self, index: NodeIndex) -> Result<NodeRef, BuildError> {
        Ok(match index {
            NodeIndex::None => NodeRef::NONE,
            NodeIndex::Name(i) => *self.names.get(i as usize).ok_or(ImageError::Bounds)?,
            NodeIndex::Nsec3(i) => *self.nsec3_owners.get(i as usize).ok_or(ImageError::Bounds)?,
            NodeIndex::Base(node) => node.to_base(),
        })
    }

    /// The index over the names: a key that gives no long chains, and the buckets.
    ///
    /// The key comes from the content, so that equal content gives equal images, and so that whoever chooses
    /// the records would have to choose them by their own hash. An overlay prefers that of its base, with which a query is hashed
    /// once for both; that somebody chooses what is added by this key costs no more than that.
    fn index(&mut self, preferred: Option<Key>, nodes_end: usize) -> Result<(Key, u32), BuildError> {
        let content = blake3::hash(&self.image[HEADER_LEN..nodes_end]);
        let word = |at: usize| crate::format::u64_at(content.as_bytes(), at);
        let buckets = (self.names.len() * 10).div_ceil(BUCKET_FILL_TENTHS).max(1);
        let buckets_at = self.image.len();
        let own = (0..KEYS_MAX).map(|attempt| Key { k0: word(0) ^ attempt, k1: word(8) });
        for key in preferred.into_iter().chain(own) {
            self.image.truncate(buckets_at);
            self.image.resize(buckets_at + BUCKET_LEN * buckets, 0);
            if self.fill_buckets(key, buckets_at, buckets as u32) {
                return Ok((key, buckets as u32));
            }
        }
        Err(BuildError::Chains)
    }

    fn fill_buckets(&mut self, key: Key, buckets_at: usize, buckets: u32) -> bool {
        let (nodes, index) = self.image.split_at_mut(buckets_at);
        let start = State::new(key);
        let mut folded = FoldedName::default();
        let mut terminated = [0u8; 256];
        // The apex is found without the index.
        for node in self.names.iter().skip(1) {
            let at = node.at();
            let fixed =
                NODE_FIXED + if NodeFlags(nodes[at + 1]).has(NodeFlags::EXTRA) { NODE_EXTRA } else { 0 };
            let len = usize::from(nodes[at]);
            terminated[..len].copy_from_slice(&nodes[at + fixed..at + fixed + len]);
            terminated[len] = 0;
            let Ok(name) = Name::from_wire(&terminated[..=len]) else { return false };
            folded.set(name);
            let mut state = start;
            state.absorb_labels(&folded, 0, folded.label_count());
            if !insert(index, buckets, state.finish(), *node) {
                return false;
            }
        }
        true
    }

    fn append_nsec_keys(&mut self) {
        for i in 0..self.nsec.len() {
            let at = self.nsec[i].at();
            let fixed =
                NODE_FIXED + if NodeFlags(self.image[at + 1]).has(NodeFlags::EXTRA) { NODE_EXTRA } else { 0 };
            let relative = &self.image[at + fixed..at + fixed + usize::from(self.image[at])];
            let key = (sort_prefix(relative) >> 64) as u64;
            self.image.extend(key.to_le_bytes());
        }
    }
}

/// Appends a set that refers to no nodes.
pub(crate) fn append_unlinked(image: &mut Vec<u8>, spec: &RrsetSpec<'_>) -> Option<()> {
    if !spec.fixups.is_empty() || spec.glue_count != 0 || spec.count == 0 {
        return None;
    }
    append(image, spec, RrsetFlags::NONE, |_, _| ())
}

/// Appends a set; `refers` is told where the references to nodes have to be. `None` where it is larger than a message.
fn append(
    image: &mut Vec<u8>,
    spec: &RrsetSpec<'_>,
    mut flags: RrsetFlags,
    mut refers: impl FnMut(usize, NodeIndex),
) -> Option<()> {
    let start = image.len();
    let len = u16::try_from(spec.records.len()).ok()?;
    let signatures_len = u16::try_from(spec.signatures.len()).ok()?;
    let count = u16::try_from(spec.count).ok()?;
    let fixups = spec.fixups;
    if spec.signature_count > 0 {
        flags = flags.with(RrsetFlags::SIGNED);
    }
    if !fixups.is_empty() {
        flags = flags.with(RrsetFlags::FIXUPS);
    }
    let has_glue = spec.glue_count > 0 || flags.has(RrsetFlags::STEERED);
    if has_glue {
        flags = flags.with(RrsetFlags::GLUE);
    }
    let stride = stride(spec.records, spec.count);
    image.extend(spec.rtype.0.to_le_bytes());
    image.extend(count.to_le_bytes());
    image.extend(len.to_le_bytes());
    image.extend([stride, flags.0]);
    if spec.signature_count > 0 {
        image.extend(u16::try_from(spec.signature_count).ok()?.to_le_bytes());
        image.extend(signatures_len.to_le_bytes());
    }
    if !fixups.is_empty() {
        let counts = [fixups.owner.len(), fixups.apex.len(), fixups.inner.len(), fixups.additional.len()];
        for count in counts {
            image.extend(u16::try_from(count).ok()?.to_le_bytes());
        }
    }
    if has_glue {
        image.extend(u16::try_from(spec.glue_count).ok()?.to_le_bytes());
        image.extend(u16::try_from(spec.glue.len()).ok()?.to_le_bytes());
    }
    image.extend_from_slice(spec.records);
    image.extend_from_slice(spec.signatures);
    image.extend_from_slice(spec.glue);
    for at in fixups.owner.iter().chain(&fixups.apex).chain(&fixups.inner) {
        image.extend(at.to_le_bytes());
    }
    image.resize(start + padded(image.len() - start), 0);
    for (name_at, node) in &fixups.additional {
        image.extend(name_at.to_le_bytes());
        image.extend([0; 2]);
        refers(image.len(), *node);
        image.extend([0; 4]);
    }
    debug_assert!(image.len() - start >= RRSET_FIXED);
    Some(())
}

fn insert(index: &mut [u8], buckets: u32, hash: u64, node: NodeRef) -> bool {
    let mut bucket = hash::bucket(hash, buckets);
    for _ in 0..CHAIN_MAX {
        let at = bucket as usize * BUCKET_LEN;
        let octets = &mut index[at..at + BUCKET_LEN];
        if let Some(slot) = octets[..BUCKET_SLOTS].iter().position(|tag| *tag == 0) {
            octets[slot] = hash::tag(hash);
            octets[BUCKET_REFS + 4 * slot..BUCKET_REFS + 4 * slot + 4].copy_from_slice(&node.0.to_le_bytes());
            return true;
        }
        octets[BUCKET_SPILL] = 1;
        bucket = if bucket + 1 == buckets { 0 } else { bucket + 1 };
    }
    false
}

/// The common length of all records, where they have one that fits an octet; else 0.
fn stride(records: &[u8], count: usize) -> u8 {
    let Ok(each) = u8::try_from(records.len() / count.max(1)) else { return 0 };
    let data_len = usize::from(each).wrapping_sub(12) as u16;
    let even = usize::from(each) * count == records.len()
        && each >= 12
        && records.chunks_exact(usize::from(each)).all(|record| record[10..12] == data_len.to_be_bytes());
    if even { each } else { 0 }
}

fn labels_in(relative: &[u8]) -> usize {
    let mut count = 0;
    let mut at = 0;
    while at < relative.len() {
        count += 1;
        at += 1 + usize::from(relative[at]);
    }
    count
}
