//! The kernel's own types, as far as they matter here: numbers of functions and names, and where a field stands in a structure.
//!
//! The format is the kernel's BTF (Documentation/bpf/btf.rst): a header, types one after the other, numbered from 1, and
//! the names they refer to. The file comes from the kernel that runs, and is read as if it came from anywhere.

use std::collections::HashMap;

/// The number that the format begins with.
const MAGIC: u16 = 0xeb9f;
/// Octets of a type before what depends on its kind.
const TYPE_LEN: usize = 12;
/// Octets of a member of a structure.
const MEMBER_LEN: usize = 12;
/// How deep structures without a name may stand in one another: the kernel has three.
const DEPTH_MAX: u32 = 8;

/// Kinds of types.
mod kind {
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const FUNC: u32 = 12;
}

/// Why types can't be made use of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TypesError {
    /// They are not in the format, or in a later one.
    Unreadable,
    /// There is no function or field of this name.
    Missing(&'static str),
}

/// All types of a kernel.
pub(super) struct Types<'a> {
    types: &'a [u8],
    names: &'a [u8],
    /// Where each type begins; the first is number 1.
    starts: Vec<u32>,
}

/// A type, with the octets that belong to its kind.
struct Type<'a> {
    name: u32,
    kind: u32,
    /// Whether offsets of members have the widths of bit fields beside them.
    has_widths: bool,
    details: &'a [u8],
}

impl<'a> Types<'a> {
    /// Finds out where each type begins.
    ///
    /// # Errors
    /// The octets are no types, or of kinds that are not known here.
    pub(super) fn read(octets: &'a [u8]) -> Result<Self, TypesError> {
        Self::index(octets).ok_or(TypesError::Unreadable)
    }

    fn index(octets: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*octets.first_chunk()?) != MAGIC {
            return None;
        }
        let header_len = word(octets, 4)? as usize;
        let part = |at: usize| -> Option<&'a [u8]> {
            let start = header_len.checked_add(word(octets, at)? as usize)?;
            octets.get(start..)?.get(..word(octets, at + 4)? as usize)
        };
        let (types, names) = (part(8)?, part(16)?);
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(u32::try_from(at).ok()?);
            at += TYPE_LEN + details_len(word(types, at + 4)?)?;
        }
        (at == types.len()).then_some(Self { types, names, starts })
    }

    /// The number of a function.
    ///
    /// # Errors
    /// There is none of the name.
    pub(super) fn function(&self, name: &'static str) -> Result<u32, TypesError> {
        self.find(kind::FUNC, name).ok_or(TypesError::Missing(name))
    }

    /// The number of a type that is another one by this name.
    ///
    /// # Errors
    /// There is none of the name.
    pub(super) fn alias(&self, name: &'static str) -> Result<u32, TypesError> {
        self.find(kind::TYPEDEF, name).ok_or(TypesError::Missing(name))
    }

    /// Where fields stand in a structure, in octets from its beginning. Those of structures without a name count as its own.
    ///
    /// # Errors
    /// There is no such structure or field.
    pub(super) fn fields<const N: usize>(
        &self,
        structure: &'static str,
        names: [&'static str; N],
    ) -> Result<[i16; N], TypesError> {
        let number = self.find(kind::STRUCT, structure).ok_or(TypesError::Missing(structure))?;
        let mut found = HashMap::new();
        self.collect(number, 0, DEPTH_MAX, &mut found).ok_or(TypesError::Unreadable)?;
        let mut offsets = [0; N];
        for (offset, name) in offsets.iter_mut().zip(names) {
            *offset = *found.get(name.as_bytes()).ok_or(TypesError::Missing(name))?;
        }
        Ok(offsets)
    }

    /// Adds the fields of a structure that begins so many bits after that which was asked for.
    fn collect(&self, number: u32, bits: u32, depth: u32, found: &mut HashMap<&'a [u8], i16>) -> Option<()> {
        let Type { has_widths, details, .. } = self.get(number)?;
        for member in details.chunks_exact(MEMBER_LEN) {
            let (name, of, offset) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            let offset = if has_widths { offset & 0x00ff_ffff } else { offset };
            let bits = bits.checked_add(offset)?;
            if name != 0 {
                // What stands further back than an instruction reaches is not asked for.
                if let (0, Ok(octets)) = (bits % 8, i16::try_from(bits / 8)) {
                    found.entry(self.name(name)?).or_insert(octets);
                }
            } else if matches!(self.get(of)?.kind, kind::STRUCT | kind::UNION) {
                self.collect(of, bits, depth.checked_sub(1)?, found)?;
            }
        }
        Some(())
    }

    fn find(&self, kind: u32, name: &str) -> Option<u32> {
        (1..=u32::try_from(self.starts.len()).ok()?).find(|number| {
            self.get(*number)
                .is_some_and(|one| one.kind == kind && self.name(one.name) == Some(name.as_bytes()))
        })
    }

    fn get(&self, number: u32) -> Option<Type<'a>> {
        let at = *self.starts.get((number as usize).checked_sub(1)?)? as usize;
        let (name, told) = (word(self.types, at)?, word(self.types, at + 4)?);
        let details = self.types.get(at + TYPE_LEN..)?.get(..details_len(told)?)?;
        Some(Type { name, kind: kind_of(told), has_widths: told >> 31 != 0, details })
    }

    fn name(&self, at: u32) -> Option<&'a [u8]> {
        self.names.get(at as usize..)?.split(|octet| *octet == 0).next()
    }
}

fn kind_of(told: u32) -> u32 {
    told >> 24 & 0x1f
}

/// How many octets follow a type; none for a kind that isn't known.
fn details_len(told: u32) -> Option<usize> {
    let count = (told & 0xffff) as usize;
    Some(match kind_of(told) {
        // Pointers, declarations, other names, qualifiers, functions, floating point, tags of types.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structures, unions, sections, enumerations of 64 bits.
        4 | 5 | 15 | 19 => 12 * count,
        // Enumerations, parameters of functions.
        6 | 13 => 8 * count,
        _ => return None,
    })
}

/// The 32 bits that stand there, in the machine's order.
fn word(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types as a compiler would write them: a function, and a structure with one that has no name.
    fn written() -> Vec<u8> {
        let names = b"\0call\0outer\0first\0inner\0far\0";
        let at = |name: &str| {
            let wanted = [name.as_bytes(), b"\0"].concat();
            names.windows(wanted.len()).position(|window| window == wanted).unwrap() as u32
        };
        let told = |kind: u32, count: u32| kind << 24 | count;
        let mut types = Vec::new();
        types.extend([0, told(1, 0), 4, 32]); // 1: int
        types.extend([at("call"), told(kind::FUNC, 0), 1]); // 2
        types.extend([0, told(kind::UNION, 1), 8, at("inner"), 1, 32]); // 3
        types.extend([at("outer"), told(kind::STRUCT, 3), 16]); // 4
        types.extend([at("first"), 1, 0, 0, 3, 64, at("far"), 1, 8 * 0x8000]);
        types.extend([at("far"), told(kind::TYPEDEF, 0), 1]); // 5
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut octets = [MAGIC.to_ne_bytes(), [1, 0]].concat();
        let words = [24, 0, types.len() as u32, types.len() as u32, names.len() as u32];
        octets.extend(words.into_iter().flat_map(u32::to_ne_bytes));
        octets.extend(types);
        octets.extend(names);
        octets
    }

    #[test]
    fn functions_and_fields() {
        let octets = written();
        let types = Types::read(&octets).unwrap();
        assert_eq!(types.function("call"), Ok(2));
        assert_eq!(types.function("outer"), Err(TypesError::Missing("outer")));
        assert_eq!((types.alias("far"), types.alias("call")), (Ok(5), Err(TypesError::Missing("call"))));
        assert_eq!(types.fields("outer", ["first", "inner"]), Ok([0, 12]));
        assert_eq!(types.fields("outer", ["far"]), Err(TypesError::Missing("far")));
    }

    #[test]
    fn a_structure_in_itself_is_refused() {
        let mut octets = written();
        // The member without a name is of the structure that it stands in.
        let at = octets.windows(12).position(|part| part[..8] == [0, 0, 0, 0, 3, 0, 0, 0] && part[8] == 64);
        octets[at.unwrap() + 4] = 4;
        let types = Types::read(&octets).unwrap();
        assert_eq!(types.fields("outer", ["first"]), Err(TypesError::Unreadable));
    }

    #[test]
    fn no_octets_are_too_strange() {
        let octets = written();
        for len in 0..octets.len() {
            assert!(Types::read(&octets[..len]).is_err(), "{len} octets");
        }
        for at in 0..octets.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = octets.clone();
                changed[at] = value;
                if let Ok(types) = Types::read(&changed) {
                    let _any = (types.function("call"), types.fields("outer", ["first", "inner", "far"]));
                }
            }
        }
    }
}
