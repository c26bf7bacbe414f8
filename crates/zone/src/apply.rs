//! A version of a zone from an earlier one and the differences that lead to it.

use crate::compare::folded;
use crate::difference::{Difference, RecordList};
use crate::records::Gatherer;
use std::collections::HashMap;
use std::sync::Arc;
use table::{BadPointer, Table, Walk};
use wire::{NameBuf, RecordType};

/// Why differences don't lead on from a version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Inapplicable {
    /// They begin at another version, or leave one out.
    #[error("the difference from serial {from} doesn't follow serial {at}")]
    OtherVersion {
        /// Where the difference begins.
        from: u32,
        /// Where it would have to.
        at: u32,
    },
    /// A record is to go that isn't there.
    #[error("the {rtype} record of {owner} is to go and is not there")]
    NotThere {
        /// Who owns it.
        owner: Box<NameBuf>,
        /// Its type.
        rtype: RecordType,
    },
    /// A record is to come that is there already.
    #[error("the {rtype} record of {owner} is to come and is there already")]
    There {
        /// Who owns it.
        owner: Box<NameBuf>,
        /// Its type.
        rtype: RecordType,
    },
    /// The table is damaged.
    #[error(transparent)]
    Table(#[from] BadPointer),
}

/// What becomes of a record that differences name.
struct Fate {
    /// Whether the first of them takes it away: then it is in the table.
    was_there: bool,
    /// Whether the table had it.
    found: bool,
    /// As the last of them adds it; `None` where it is gone.
    added: Option<(u32, Vec<u8>)>,
}

/// Those of one owner, by type and folded data.
type Fates = HashMap<(RecordType, Vec<u8>), Fate>;

/// All records of the version that `differences`, one after the other, make of the one in `table`.
///
/// # Errors
/// They don't lead on from it: they name records that are not there, or bring such as are (RFC 1995 §4 has neither).
pub fn apply(table: &Arc<Table>, differences: &[Difference]) -> Result<Gatherer, Inapplicable> {
    let mut changed: HashMap<Vec<u8>, Fates> = HashMap::new();
    let mut at = table.serial();
    for difference in differences {
        if difference.from != at {
            return Err(Inapplicable::OtherVersion { from: difference.from, at });
        }
        note(&mut changed, &difference.removed, Way::Out)?;
        note(&mut changed, &difference.added, Way::In)?;
        at = difference.to;
    }
    let mut gatherer = Gatherer::new(table.apex_name(), table.image().len());
    let mut walk = Walk::new(Arc::clone(table));
    while let Some(record) = walk.next_record()? {
        let fate = changed
            .get_mut(record.owner.as_wire())
            .and_then(|fates| fates.get_mut(&(record.rtype, folded(record.rtype, record.rdata))));
        match fate {
            None => gatherer.add_received(record.owner, record.rtype, record.ttl, record.rdata),
            Some(fate) if fate.was_there => fate.found = true,
            Some(_) => {
                return Err(Inapplicable::There {
                    owner: Box::new(record.owner.into()),
                    rtype: record.rtype,
                });
            }
        }
    }
    for (owner, fates) in &changed {
        let Ok(owner) = wire::Name::from_wire(owner) else { continue };
        for ((rtype, _), fate) in fates {
            if fate.was_there && !fate.found {
                return Err(Inapplicable::NotThere { owner: Box::new(owner.into()), rtype: *rtype });
            }
            if let Some((ttl, rdata)) = &fate.added {
                gatherer.add_received(owner, *rtype, *ttl, rdata);
            }
        }
    }
    Ok(gatherer)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

fn note(changed: &mut HashMap<Vec<u8>, Fates>, list: &RecordList, way: Way) -> Result<(), Inapplicable> {
    for record in list.iter() {
        let owner = record.owner.as_wire().to_ascii_lowercase();
        let key = (record.rtype, folded(record.rtype, record.rdata));
        let added = (way == Way::In).then(|| (record.ttl, record.rdata.to_vec()));
        let fates = changed.entry(owner).or_default();
        let Some(fate) = fates.get_mut(&key) else {
            fates.insert(key, Fate { was_there: way == Way::Out, found: false, added });
            continue;
        };
        if fate.added.is_some() == added.is_some() {
            let (owner, rtype) = (Box::new(record.owner.into()), record.rtype);
            return Err(match way {
                Way::Out => Inapplicable::NotThere { owner, rtype },
                Way::In => Inapplicable::There { owner, rtype },
            });
        }
        fate.added = added;
    }
    Ok(())
}
