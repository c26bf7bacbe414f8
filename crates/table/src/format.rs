//! The layout of an image: what stands where, in numbers.
//!
//! ```text
//! header      576 octets, below
//! nodes       in canonical order (RFC 4034 §6.1), the apex first; see `node`
//! nsec3 nodes the owners of NSEC3 records, which are not names of the zone (RFC 5155 §7.2.8)
//! part        the authority section of negative answers right below the apex; see `part`
//! buckets     64 octets each: 12 tags, one flag octet, 3 zero octets, 12 node references
//! nsec keys   the first eight octets of each NSEC owner's sort key, in order; then their node references
//! nsec3       24 octets each: hash, node reference; sorted by hash
//! salt        of the NSEC3 chain
//! ```
//! Numbers are little-endian; records are in network order as they go out. References are offsets from the
//! start of the image in units of four octets, so an image can have 16 GiB.

/// The format version; an image of another version is never read, but built anew.
pub const VERSION: u32 = 4;

pub(crate) const MAGIC: [u8; 8] = *b"STARLING";
pub(crate) const HEADER_LEN: usize = 576;
/// What the digest covers starts here: after the digest itself and the stamp of the source.
pub(crate) const DIGEST_FROM: usize = 96;
pub(crate) const BUCKET_LEN: usize = 64;
pub(crate) const BUCKET_SLOTS: usize = 12;
/// The octet of a bucket that says whether names spilled over into the next one.
pub(crate) const BUCKET_SPILL: usize = 12;
pub(crate) const BUCKET_REFS: usize = 16;
/// How many buckets a lookup may touch; the builder takes another key before it makes a longer chain. With buckets
/// four fifths full, one in twelve names is not in its first; a table of 10 million has chains of a dozen.
pub(crate) const CHAIN_MAX: u32 = 64;
pub(crate) const NODE_FIXED: usize = 4;
pub(crate) const NODE_EXTRA: usize = 20;
pub(crate) const RRSET_FIXED: usize = 8;
pub(crate) const ADDITIONAL_LEN: usize = 8;
pub(crate) const NSEC3_ENTRY: usize = 24;
/// Octets of an NSEC3 owner hash: SHA-1, the only algorithm there is (RFC 5155 §11).
pub(crate) const NSEC3_HASH: usize = 20;

const _: () = assert!(BUCKET_REFS + 4 * BUCKET_SLOTS == BUCKET_LEN);
const _: () = assert!(header::CONTENT + 32 <= HEADER_LEN && HEADER_LEN.is_multiple_of(64));
const _: () = assert!(NODE_FIXED + NODE_EXTRA + 256 <= 4 * 255, "the offset of the first set fits its octet");

/// Offsets of the header's fields.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    pub(crate) const HEADER_LEN: usize = 12;
    pub(crate) const IMAGE_LEN: usize = 16;
    pub(crate) const DIGEST: usize = 24;
    pub(crate) const SOURCE: usize = 56;
    pub(crate) const KEY0: usize = 96;
    pub(crate) const KEY1: usize = 104;
    pub(crate) const SERIAL: usize = 112;
    pub(crate) const FLAGS: usize = 116;
    pub(crate) const NODES: usize = 120;
    pub(crate) const RECORDS: usize = 124;
    pub(crate) const BUCKETS: usize = 128;
    pub(crate) const DEPTH_MAX: usize = 132;
    pub(crate) const APEX_NODE: usize = 136;
    pub(crate) const NEGATIVE_PART: usize = 140;
    pub(crate) const BUCKETS_AT: usize = 144;
    pub(crate) const NODES_AT: usize = 152;
    pub(crate) const NODES_END: usize = 160;
    pub(crate) const NSEC_KEYS_AT: usize = 168;
    pub(crate) const NSEC_COUNT: usize = 176;
    pub(crate) const NSEC3_COUNT: usize = 180;
    pub(crate) const NSEC3_AT: usize = 184;
    pub(crate) const NSEC_REFS_AT: usize = 192;
    pub(crate) const NSEC3_ITERATIONS: usize = 200;
    pub(crate) const SALT_LEN: usize = 203;
    pub(crate) const NSEC3_NODES: usize = 204;
    pub(crate) const NSEC3_NODES_AT: usize = 208;
    pub(crate) const NSEC3_NODES_END: usize = 216;
    pub(crate) const APEX_LEN: usize = 224;
    pub(crate) const APEX: usize = 225;
    pub(crate) const SALT_AT: usize = 480;
    pub(crate) const CONTENT: usize = 488;
}

/// A reference to a node or to a record set: its offset in the image divided by four. Zero is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeRef(pub(crate) u32);

impl NodeRef {
    /// No node.
    pub const NONE: NodeRef = NodeRef(0);

    /// Whether there is none.
    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) fn at(self) -> usize {
        self.0 as usize * 4
    }

    /// In an overlay: a reference to this node of the base.
    pub(crate) fn to_base(self) -> NodeRef {
        NodeRef(self.0 | IN_BASE)
    }

    /// In an overlay: the node of the base that is meant; `None` for one of the overlay itself.
    pub(crate) fn of_base(self) -> Option<NodeRef> {
        (self.0 & IN_BASE != 0).then_some(NodeRef(self.0 & !IN_BASE))
    }
}

/// Marks references in an overlay that lead to the base, which has 8 GiB at most then.
const IN_BASE: u32 = 1 << 31;

macro_rules! flags {
    ($(#[$doc:meta])* $vis:vis $type:ident($int:ty) { $($(#[$flag_doc:meta])* $name:ident = $bit:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        $vis struct $type(pub(crate) $int);

        impl $type {
            $($(#[$flag_doc])* $vis const $name: $type = $type(1 << $bit);)*

            /// None of the flags.
            $vis const NONE: $type = $type(0);

            /// Whether every flag of `other` is set.
            #[inline]
            $vis fn has(self, other: $type) -> bool {
                self.0 & other.0 == other.0
            }

            /// Both sets together.
            #[must_use]
            $vis fn with(self, other: $type) -> $type {
                $type(self.0 | other.0)
            }
        }
    };
}

flags! {
    /// What a node is, beside what it owns.
    pub NodeFlags(u8) {
        /// A delegation: NS records below the apex (RFC 1034 §4.2.1).
        CUT = 0;
        /// Owns a DNAME, so names below it are redirected (RFC 6672).
        DNAME = 1;
        /// Below a delegation or a DNAME: never answered from, kept as glue and for transfers.
        OCCLUDED = 2;
        /// Has the fields for wildcards and denial.
        EXTRA = 3;
        /// The name's leftmost label is `*`.
        WILDCARD = 4;
        /// Owns a CNAME.
        CNAME = 5;
        /// In an overlay: the base has a node of this name, and the zone no longer does.
        GONE = 6;
    }
}

flags! {
    /// What an image as a whole is.
    pub ImageFlags(u32) {
        /// Denial is by an NSEC chain.
        NSEC = 0;
        /// Denial is by an NSEC3 chain.
        NSEC3 = 1;
        /// The records of a set rotate from answer to answer.
        ROTATE = 2;
        /// Most names are delegations or below one, so that a name of several labels is looked for from the apex down.
        DELEGATES = 3;
        /// A set was given with several TTLs, or a record in several spellings. What others say has changed in it is not about
        /// what is served.
        MIXED = 4;
    }
}

flags! {
    /// Which parts a record set has.
    pub(crate) RrsetFlags(u8) {
        /// Two numbers for the signatures follow the fixed part.
        SIGNED = 0;
        /// Four numbers for fix-ups and additional names follow.
        FIXUPS = 1;
        /// The addresses of name servers below the cut follow the signatures.
        GLUE = 3;
        /// The set before it once more, beginning with another record.
        TURNED = 2;
        /// In an overlay: answers have one of several sets in its place. The number of their list stands for the count of addresses
        /// in GLUE, of which there are none. Never in a file: these sets are not in the image.
        STEERED = 7;
    }
}

/// The digest of an image's content: equal digests give equal answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The digest of the records of a zone, whatever their table looks like: nodes with equal ones have the same zone. How it is
/// made decides who makes the image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ContentDigest(pub [u8; 32]);

impl std::fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl std::fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What an image was made from, as its maker likes to recognise it (for example a digest of the master
/// file and of the options). It is not part of the content digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceStamp(pub [u8; 32]);

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = &bytes[at..at + 4];
    u32::from_le_bytes([four[0], four[1], four[2], four[3]])
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline]
pub(crate) fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// The first sixteen octets of a name's sort key, relative to the apex, so that most comparisons in
/// canonical order are of one number.
///
/// The key of a name is its labels from the right, each followed by a zero octet, with the octets 0 and 1
/// written as 1 1 and 1 2: keys compare as octet strings exactly as names compare by RFC 4034 §6.1.
/// `relative` is the lower-cased name without the apex and without the root's octet.
pub fn sort_prefix(relative: &[u8]) -> u128 {
    let mut starts = [0u8; 128];
    let mut count = 0;
    let mut at = 0;
    while at < relative.len() {
        starts[count & 127] = at as u8;
        count += 1;
        at += 1 + usize::from(relative[at]);
    }
    let mut key = [0u8; 16];
    let mut len = 0;
    'labels: for &start in starts[..count].iter().rev() {
        let start = usize::from(start);
        for &octet in &relative[start + 1..start + 1 + usize::from(relative[start])] {
            if octet <= 1 {
                push(&mut key, &mut len, 1);
            }
            push(&mut key, &mut len, if octet <= 1 { octet + 1 } else { octet });
            if len >= key.len() {
                break 'labels;
            }
        }
        push(&mut key, &mut len, 0);
    }
    u128::from_be_bytes(key)
}

fn push(key: &mut [u8; 16], len: &mut usize, octet: u8) {
    if let Some(place) = key.get_mut(*len) {
        *place = octet;
    }
    *len += 1;
}
