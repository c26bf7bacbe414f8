//! Sets of which every answer has one, made ready for the packet path.

use super::{AmendError, SteerError, Steered};
use crate::sign::Signing;
use std::collections::HashMap;
use std::sync::Arc;
use table::{BuildError, Fixups, Pick, Places, RrsetSpec, SLOTS, Variants, Withheld};
use wire::message::{HEADER_LEN, POINTER};
use wire::{Class, Name, RecordType};

/// Parts of a set, of which every answer has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Which records each part has, by their places in [`Steered::rdata`]; one part at least and one record in each, but none
    /// where all is withheld.
    pub parts: Vec<Vec<u16>>,
    /// What decides which part an answer has.
    pub by: Decider,
}

/// What decides which part an answer has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decider {
    /// Whose turn it is: each part has this weight, which is its share of all answers.
    Turns(Vec<u32>),
    /// Who asks: for each slot of clients a part.
    Clients(Box<[u16; SLOTS]>),
    /// Where who asks is: a map, and for each of its places, by number, a part.
    Places(Arc<Places>, Box<[u16]>),
    /// Nothing: no answer has any. The set is there for the sake of the name, and in a failure of the chain of denial.
    Withheld(Withheld),
}

impl Choice {
    /// A set that no answer gets.
    pub fn withheld(withheld: Withheld) -> Choice {
        Choice { parts: Vec::new(), by: Decider::Withheld(withheld) }
    }
}

impl Steered {
    /// What is answered in place of the set, where no answer gets it.
    pub(super) fn withheld(&self) -> Option<Withheld> {
        match self.choice.as_ref()?.by {
            Decider::Withheld(withheld) => Some(withheld),
            Decider::Turns(_) | Decider::Clients(_) | Decider::Places(..) => None,
        }
    }
}

/// For some types the sets that answers have one of.
type OfTypes = Vec<(RecordType, Arc<Variants>)>;

/// The sets of names that have several for a type.
#[derive(Default)]
pub(crate) struct Choices {
    /// By name, in lower case.
    names: HashMap<Box<[u8]>, OfTypes>,
}

impl Choices {
    /// Takes what a name chooses from, in the place of what it had for the type.
    pub(super) fn set(&mut self, name: Name<'_>, rtype: RecordType, variants: Option<Arc<Variants>>) {
        let key = super::touched::lowered(name).as_name().as_wire().into();
        let of_name = self.names.entry(key).or_default();
        of_name.retain(|(known, _)| *known != rtype);
        of_name.extend(variants.map(|variants| (rtype, variants)));
    }

    /// What a name in lower case chooses from for a type.
    #[inline]
    pub(crate) fn of(&self, name: Name<'_>, rtype: RecordType) -> Option<&Arc<Variants>> {
        let of_types = self.names.get(name.as_wire())?;
        of_types.iter().find(|(known, _)| *known == rtype).map(|(_, variants)| variants)
    }
}

/// Makes sets, and those of names that answer alike only once: nothing in them says whose they are, but for signatures.
#[derive(Default)]
pub(super) struct Made<'a> {
    known: HashMap<*const Choice, (&'a Steered, Arc<Variants>)>,
}

impl<'a> Made<'a> {
    /// The sets that a name chooses from, each signed where that is to be; `None` where it always has all.
    pub(super) fn variants(
        &mut self,
        steered: &'a Steered,
        signing: Option<&mut Signing<'_>>,
    ) -> Result<Option<Arc<Variants>>, SteerError> {
        let Some(choice) = &steered.choice else { return Ok(None) };
        if let Some(signing) = signing {
            return Ok(Some(Arc::new(make(steered, choice, Some(signing))?)));
        }
        if let Some((alike, variants)) = self.known.get(&Arc::as_ptr(choice))
            && (alike.rtype, alike.ttl, &alike.rdata) == (steered.rtype, steered.ttl, &steered.rdata)
        {
            return Ok(Some(Arc::clone(variants)));
        }
        let variants = Arc::new(make(steered, choice, None)?);
        self.known.insert(Arc::as_ptr(choice), (steered, Arc::clone(&variants)));
        Ok(Some(variants))
    }
}

/// A part of a set as tables have it: how many records, their octets, and the same of their signatures.
#[derive(Default)]
struct Part {
    count: usize,
    records: Vec<u8>,
    signature_count: usize,
    signatures: Vec<u8>,
}

impl Part {
    fn spec<'p>(&'p self, rtype: RecordType, fixups: &'p Fixups) -> RrsetSpec<'p> {
        RrsetSpec {
            rtype,
            count: self.count,
            records: &self.records,
            signature_count: self.signature_count,
            signatures: &self.signatures,
            glue_count: 0,
            glue: &[],
            fixups,
        }
    }
}

fn make(
    steered: &Steered,
    choice: &Choice,
    mut signing: Option<&mut Signing<'_>>,
) -> Result<Variants, SteerError> {
    let part = |places: &Vec<u16>| part(steered, places, signing.as_deref_mut());
    let parts = choice.parts.iter().map(part).collect::<Result<Vec<Part>, SteerError>>()?;
    let fixups = Fixups::default();
    let sets: Vec<RrsetSpec<'_>> = parts.iter().map(|part| part.spec(steered.rtype, &fixups)).collect();
    let pick = match &choice.by {
        Decider::Turns(weights) => Pick::Turns(weights),
        Decider::Clients(slots) => Pick::Clients(slots),
        Decider::Places(map, parts) => Pick::Places(map, parts),
        Decider::Withheld(withheld) => Pick::Withheld(*withheld),
    };
    Ok(Variants::new(&sets, pick).map_err(AmendError::from)?)
}

fn part(steered: &Steered, places: &[u16], signing: Option<&mut Signing<'_>>) -> Result<Part, SteerError> {
    let Steered { rtype, ttl, owner, .. } = steered;
    let rdata = places.iter().map(|place| steered.rdata.get(usize::from(*place)));
    let rdata = rdata.collect::<Option<Vec<_>>>();
    let mut rdata = rdata.ok_or(AmendError::from(BuildError::Variants))?;
    // As in all tables (RFC 4034 §6.3).
    rdata.sort_unstable();
    let mut part = Part { count: rdata.len(), ..Part::default() };
    for rdata in &rdata {
        append(&mut part.records, *rtype, *ttl, rdata).map_err(AmendError::from)?;
    }
    if let Some(signing) = signing {
        let signed = rdata.iter().map(|rdata| rdata.as_slice());
        for signature in signing.sign(owner.as_name(), *rtype, *ttl, signed)?.iter() {
            append(&mut part.signatures, RecordType::RRSIG, *ttl, signature).map_err(AmendError::from)?;
            part.signature_count += 1;
        }
    }
    Ok(part)
}

/// Appends a record as tables have it: its owner is a pointer to the name of the question.
fn append(octets: &mut Vec<u8>, rtype: RecordType, ttl: u32, rdata: &[u8]) -> Result<(), BuildError> {
    octets.extend((POINTER | HEADER_LEN as u16).to_be_bytes());
    octets.extend(rtype.0.to_be_bytes());
    octets.extend(Class::IN.0.to_be_bytes());
    octets.extend(ttl.to_be_bytes());
    octets.extend(u16::try_from(rdata.len()).map_err(|_| BuildError::Variants)?.to_be_bytes());
    octets.extend_from_slice(rdata);
    Ok(())
}
