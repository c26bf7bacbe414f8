//! From all records of a new version to an overlay: what is other is found by a merge with the table that stands.
//!
//! Who reads a master file anew has all its records, and may compile them. Where little has changed since the last time, finding out
//! what takes a walk over the table and no memory, and a compilation takes as much as the table has and half of that again.

use super::{AmendError, amend_from};
use crate::compare::{Incomparable, compare_zone};
use crate::compile::CompileOptions;
use crate::content;
use crate::records::Zone;
use std::sync::Arc;
use std::thread;
use table::{ImageFlags, Table};

/// The most octets of a difference: some ten thousand records. More names than [`super::NAMES_MAX`] need a compilation anyway.
const OCTETS_MAX: usize = 1 << 20;

/// Why there is no overlay that has a new version.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// Nothing can be told of what is other, or too much is.
    #[error(transparent)]
    Incomparable(#[from] Incomparable),
    /// What is other gives no overlay.
    #[error(transparent)]
    Amend(#[from] AmendError),
    /// It is to be compiled with other options.
    #[error("its options have changed")]
    Options,
    /// It would have other records than it should.
    #[error("it would have other records than those that were read")]
    Content,
}

/// Makes the next version of a zone, that has these records, of the table that stands; its source is that of the options.
///
/// # Errors
/// The zone has to be compiled, which is always right.
pub fn renew(table: &Arc<Table>, zone: &Zone, options: &CompileOptions) -> Result<Table, NotRenewed> {
    if table.flags().has(ImageFlags::ROTATE) != options.rotate {
        return Err(NotRenewed::Options);
    }
    // The digest costs about as much as the merge, and both are of the whole zone. That they agree proves the merge.
    let (content, difference) = thread::scope(|scope| {
        let content = scope.spawn(|| content::of_zone(zone));
        let difference = compare_zone(table, zone, OCTETS_MAX);
        (content.join(), difference)
    });
    let next = amend_from(table, &[difference?], options.source)?;
    match content {
        Ok(content) if content == next.content() => Ok(next),
        _ => Err(NotRenewed::Content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::{NoIncludes, Options, parse};
    use crate::records::Gatherer;
    use table::{SourceStamp, Walk};
    use wire::NameBuf;

    const ZONE: &str = "@ SOA ns h 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\nwww A 192.0.2.3\n\
                        sub NS a.sub\na.sub A 192.0.2.4\n*.w MX 5 mail\nmail TXT \"a\"\n";

    fn read(text: &str) -> Zone {
        let apex = NameBuf::from_text(b"example.", None).unwrap();
        let mut gatherer = Gatherer::new(apex.as_name(), text.len());
        let options = Options { default_ttl: Some(3600), ..Options::new(apex.as_name(), "text") };
        let report = parse(text.as_bytes(), &options, &mut NoIncludes, &mut gatherer);
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        gatherer.finish().unwrap()
    }

    fn options(source: u8) -> CompileOptions {
        CompileOptions { rotate: true, source: SourceStamp([source; 32]) }
    }

    fn walked(table: &Arc<Table>) -> Vec<String> {
        let mut walk = Walk::new(Arc::clone(table));
        let mut records = Vec::new();
        while let Some(record) = walk.next_record().unwrap() {
            records.push(format!("{} {} {} {:?}", record.owner, record.ttl, record.rtype, record.rdata));
        }
        records
    }

    /// Renews the zone with each of these texts in turn, and compares each with what is compiled.
    fn renewed(texts: &[String]) {
        let mut table = Arc::new(crate::compile(read(ZONE), &options(0)).unwrap());
        for (text, source) in texts.iter().zip(1..) {
            table = Arc::new(renew(&table, &read(text), &options(source)).unwrap());
            let whole = Arc::new(crate::compile(read(text), &options(source)).unwrap());
            assert!(table.is_overlaid());
            assert_eq!(table.source(), options(source).source);
            assert_eq!((table.serial(), table.content()), (whole.serial(), whole.content()));
            assert_eq!(walked(&table), walked(&whole), "{text}");
            let folded = crate::amend::fold(&table).unwrap();
            assert_eq!(folded.image(), whole.image(), "{text}");
        }
    }

    #[test]
    fn a_renewed_zone_is_as_if_compiled() {
        let second = ZONE.replace("h 1 ", "h 2 ");
        renewed(&[
            ZONE.to_owned(),
            second.clone(),
            second.replace("www A 192.0.2.3\n", "www A 192.0.2.9\nnew 60 A 192.0.2.5\n"),
            second.replace("sub NS a.sub\n", ""),
            second.replace("mail TXT \"a\"\n", "mail 5 TXT \"a\"\n"),
            ZONE.to_owned(),
        ]);
    }

    #[test]
    fn names_have_the_case_of_the_new_version() {
        renewed(&[ZONE.replace("MX 5 mail", "MX 5 Mail"), ZONE.replace("NS ns\n", "NS NS\n")]);
    }

    #[test]
    fn what_is_too_much_is_left_to_the_compiler() {
        let table = Arc::new(crate::compile(read(ZONE), &options(0)).unwrap());
        let of_other_options = CompileOptions { rotate: false, ..options(1) };
        assert!(matches!(renew(&table, &read(ZONE), &of_other_options), Err(NotRenewed::Options)));
        let many: String = (0..20_000).map(|host| format!("host{host} TXT \"{host:0100}\"\n")).collect();
        let many = read(&format!("{ZONE}{many}"));
        assert!(matches!(
            renew(&table, &many, &options(1)),
            Err(NotRenewed::Incomparable(Incomparable::TooLarge))
        ));
    }
}
