//! Sets of which every answer has one, made ready for the packet path.

use super::Steered;
use std::collections::HashMap;
use std::sync::Arc;
use table::{BuildError, Fixups, Pick, RrsetSpec, SLOTS, Variants};
use wire::message::{HEADER_LEN, POINTER};
use wire::{Class, Name, RecordType};

/// Parts of a set, of which every answer has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Which records each part has, by their places in [`Steered::rdata`]; at least one part, and one record in each.
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

/// Makes sets, and those of names that answer alike only once: nothing in them says whose they are.
#[derive(Default)]
pub(super) struct Made<'a> {
    known: HashMap<*const Choice, (&'a Steered, Arc<Variants>)>,
}

impl<'a> Made<'a> {
    /// The sets that a name chooses from; `None` where it always has all.
    pub(super) fn variants(&mut self, steered: &'a Steered) -> Result<Option<Arc<Variants>>, BuildError> {
        let Some(choice) = &steered.choice else { return Ok(None) };
        if let Some((alike, variants)) = self.known.get(&Arc::as_ptr(choice))
            && (alike.rtype, alike.ttl, &alike.rdata) == (steered.rtype, steered.ttl, &steered.rdata)
        {
            return Ok(Some(Arc::clone(variants)));
        }
        let variants = Arc::new(make(steered, choice)?);
        self.known.insert(Arc::as_ptr(choice), (steered, Arc::clone(&variants)));
        Ok(Some(variants))
    }
}

fn make(steered: &Steered, choice: &Choice) -> Result<Variants, BuildError> {
    let records = choice.parts.iter().map(|part| {
        let rdata = part.iter().map(|place| steered.rdata.get(usize::from(*place)));
        let mut rdata = rdata.collect::<Option<Vec<_>>>().ok_or(BuildError::Variants)?;
        // As in all tables (RFC 4034 §6.3).
        rdata.sort_unstable();
        let mut octets = Vec::new();
        rdata.into_iter().try_for_each(|rdata| append(&mut octets, steered.rtype, steered.ttl, rdata))?;
        Ok(octets)
    });
    let records = records.collect::<Result<Vec<Vec<u8>>, BuildError>>()?;
    let fixups = Fixups::default();
    let set = |(part, records): (&Vec<u16>, _)| RrsetSpec {
        rtype: steered.rtype,
        count: part.len(),
        records,
        signature_count: 0,
        signatures: &[],
        glue_count: 0,
        glue: &[],
        fixups: &fixups,
    };
    let sets: Vec<RrsetSpec<'_>> =
        choice.parts.iter().zip(records.iter().map(Vec::as_slice)).map(set).collect();
    let pick = match &choice.by {
        Decider::Turns(weights) => Pick::Turns(weights),
        Decider::Clients(slots) => Pick::Clients(slots),
    };
    Variants::new(&sets, pick)
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
