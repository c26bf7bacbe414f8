use super::*;
use std::sync::Arc;
use zone::CompileOptions;
use zone::master::{NoIncludes, Options, parse};

const APEX: &str = "catalog.example.";
const START: &str = "@ 0 SOA invalid. invalid. 1 3600 600 2147483646 0\n@ 0 NS invalid.\n";
const VERSION_2: &str = "version 0 TXT \"2\"\n";

fn name(text: &str) -> ZoneName {
    NameBuf::from_text(text.as_bytes(), None).unwrap().as_name().into()
}

/// Reads a catalog as it would come out of a transfer: without the checks of a master file.
fn read_text(apex: &str, text: &str) -> Result<Catalog, CatalogError> {
    let apex = name(apex);
    let mut records = zone::Gatherer::new(apex.as_name(), text.len());
    let options = Options { default_ttl: Some(0), ..Options::new(apex.as_name(), "text") };
    let report = parse(text.as_bytes(), &options, &mut NoIncludes, &mut records);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let table = zone::compile(records.finish().unwrap(), &CompileOptions::default()).unwrap();
    read(&Arc::new(table))
}

fn good(text: &str) -> Catalog {
    read_text(APEX, &format!("{START}{VERSION_2}{text}")).unwrap()
}

#[test]
fn members_have_their_properties() {
    let catalog = good(
        "nj2xg5b.Zones PTR Example.COM.\nGroup.NJ2XG5B.zones TXT \"no\" \"dnssec\"\ngroup.nj2xg5b.zones TXT gold\n\
         nvxxezj.zones PTR example.net.\ncoo.nvxxezj.zones PTR Other.Catalog.\nroot.zones PTR .\n",
    );
    let expected = [
        (".", "root", vec![], None),
        ("example.com.", "nj2xg5b", vec!["gold", "nodnssec"], None),
        ("example.net.", "nvxxezj", vec![], Some("other.catalog.")),
    ];
    let expected = expected.map(|(zone, label, groups, coo)| {
        let octets = |text: &str| text.as_bytes().into();
        let groups: Vec<Box<[u8]>> = groups.into_iter().map(octets).collect();
        (name(zone), Member { label: label.as_bytes().into(), groups, coo: coo.map(name) })
    });
    assert_eq!(catalog.members.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn what_means_nothing_is_passed_over() {
    let catalog = good(
        "a.zones PTR a.example.\na.zones TXT text\nb.zones TXT \"no PTR\"\ngroup.b.zones TXT of-nobody\n\
         x.group.a.zones TXT deeper\nabc.ext TXT \"of my own\"\nfuture.a.zones TXT what\nzones PTR no.member.\n\
         a.members PTR no.member.\nx.a.zones PTR no.member.\nwww A 192.0.2.1\ngroup.a.zones PTR no.group.\n",
    );
    assert_eq!(catalog.members.keys().map(ToString::to_string).collect::<Vec<_>>(), ["a.example."]);
    assert!(catalog.members.values().all(|member| member.groups.is_empty() && member.coo.is_none()));
    assert!(good("").members.is_empty(), "without members it is a good catalog");
}

#[test]
fn a_broken_catalog_says_where() {
    let of_version = |version: &str| format!("{START}{version}a.zones PTR a.example.\n");
    let of_members = |text: &str| format!("{START}{VERSION_2}{text}");
    let cases = [
        (of_version(""), "version.catalog.example. has no TXT record"),
        (of_version("version TXT \"1\"\n"), "says version \"1\", and only \"2\" is known"),
        (of_version("version TXT \"2 \"\n"), "says version \"2 \""),
        (of_version("version TXT \"\\000\"\n"), "says version \"\\000\""),
        (of_version("version TXT \"2\"\nversion TXT \"3\"\n"), "version.catalog.example. has several TXT"),
        (of_version("version A 192.0.2.1\nx.version TXT \"2\"\n"), "has no TXT record"),
        (
            of_members("a.zones PTR a.example.\na.zones PTR b.example.\n"),
            "a.zones.catalog.example. has several PTR",
        ),
        (
            of_members("a.zones PTR X.example.\nb.zones PTR x.example.\n"),
            "x.example. is there twice, as a.zones.catalog.example. and as b.zones.catalog.example.",
        ),
        (
            of_members("a.zones PTR a.example.\ncoo.a.zones PTR b.\ncoo.a.zones PTR c.\n"),
            "coo.a.zones.catalog.example. has several PTR",
        ),
    ];
    for (text, expected) in cases {
        let error = read_text(APEX, &text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn records_that_no_table_would_have_are_errors_too() {
    let apex = name(APEX);
    let owner = |text: &str| NameBuf::from_text(text.as_bytes(), Some(apex.as_name())).unwrap();
    for (at, rtype, rdata) in [
        ("version", wire::RecordType::TXT, &b"\x05x"[..]),
        ("a.zones", wire::RecordType::PTR, b""),
        ("a.zones", wire::RecordType::PTR, b"\xc0\x0c"),
        ("coo.a.zones", wire::RecordType::PTR, b"\x01a"),
        ("group.a.zones", wire::RecordType::TXT, b"\xff"),
    ] {
        let error = Reader::new(apex.as_name()).take(owner(at).as_name(), rtype, rdata).unwrap_err();
        assert!(matches!(error, CatalogError::Malformed { .. }), "{at}: {error}");
    }
    let mut reader = Reader::new(apex.as_name());
    let foreign = name("version.other.example.");
    reader.take(foreign.as_name(), wire::RecordType::TXT, b"\x012").unwrap();
    assert!(matches!(reader.finish(), Err(CatalogError::NoVersion { .. })));
}

#[test]
fn memory_is_bounded() {
    let apex = name(APEX);
    let mut reader = Reader::new(apex.as_name());
    let zones = NameBuf::child(b"zones", apex.as_name()).unwrap();
    let full = (0..=MEMBERS_MAX).find_map(|index| {
        let owner = NameBuf::child(index.to_string().as_bytes(), zones.as_name()).unwrap();
        reader.take(owner.as_name(), wire::RecordType::PTR, b"\x01x\0").err().map(|error| (index, error))
    });
    assert_eq!(full, Some((MEMBERS_MAX, CatalogError::TooMany)));
    let many: String = (0..100).map(|index| format!("group.a.zones TXT {index}\n")).collect();
    let long = "y".repeat(250);
    let catalog = good(&format!("a.zones PTR a.\n{many}b.zones PTR b.\ngroup.b.zones TXT {long} {long}\n"));
    assert_eq!(catalog.members[&name("a.")].groups.len(), GROUPS_MAX);
    assert!(catalog.members[&name("b.")].groups.is_empty());
}

#[test]
fn what_is_written_is_read() {
    let listed = |zone: &str, group: Option<&str>, coo: Option<&str>, label: Option<&str>| Listed {
        zone: name(zone),
        group: group.map(|group| group.as_bytes().into()),
        coo: coo.map(name),
        label: label.map(|label| label.as_bytes().into()),
    };
    let zones = [
        listed("example.com.", Some("gold"), None, None),
        listed("b.example.", None, Some("other.example."), Some("of-mine")),
    ];
    let apex = name(APEX);
    let reading = zone::conclude(write(apex.as_name(), 7, &zones).unwrap());
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let table = zone::compile(reading.zone.unwrap(), &CompileOptions::default()).unwrap();
    assert_eq!(table.serial(), 7);
    let catalog = read(&Arc::new(table)).unwrap();
    assert_eq!(catalog.members.len(), 2);
    let com = &catalog.members[&name("example.com.")];
    assert_eq!(*com.label, label_of(&name("Example.COM.")));
    assert_eq!(com.groups, [b"gold".as_slice().into()]);
    let b = &catalog.members[&name("b.example.")];
    assert_eq!((&*b.label, &b.coo), (&b"of-mine"[..], &Some(name("other.example."))));
    // For ever: with another one, every secondary would begin all zones from scratch.
    assert_eq!(&label_of(&name("example.com.")), b"b132136ed17073ab92c445bc4208e477");
    let long = NameBuf::from_text(
        format!("{}.{}.{}.{}.", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(17)).as_bytes(),
        None,
    )
    .unwrap();
    assert_eq!(long.as_name().len(), NAME_LEN_MAX + 1);
    assert_eq!(write(long.as_name(), 1, &zones[..1]).err(), Some(TooLong));
    assert!(write(long.as_name().suffix(3), 1, &zones).is_ok());
}

mod ownership {
    use super::*;

    const LIMIT: RemovalLimit = RemovalLimit { count: 2, percent: 10 };

    /// `zone=label` or `zone=label>catalog`, several in a text.
    fn catalog(text: &str) -> Catalog {
        let member = |word: &str| {
            let (zone, rest) = word.split_once('=').unwrap();
            let (label, coo) =
                rest.split_once('>').map_or((rest, None), |(label, coo)| (label, Some(name(coo))));
            (name(zone), Member { label: label.as_bytes().into(), groups: Vec::new(), coo })
        };
        Catalog { members: text.split_whitespace().map(member).collect() }
    }

    struct Node {
        ownership: Ownership,
        approval: Approval,
        left: usize,
        within: Vec<ZoneName>,
    }

    impl Node {
        fn new() -> Node {
            let ownership = Ownership::default();
            Node { ownership, approval: Approval::Missing, left: 0, within: Vec::new() }
        }

        /// Has it see these catalogs, `None` for one without a good version.
        fn sees(&mut self, catalogs: &[(&str, Option<&str>)]) -> Settled {
            let read: Vec<_> = catalogs.iter().map(|(_, text)| text.map(catalog)).collect();
            let views: Vec<View<'_>> = catalogs
                .iter()
                .zip(&read)
                .map(|((of, _), catalog)| View {
                    name: name(of),
                    catalog: catalog.as_ref(),
                    limit: LIMIT,
                    left: self.left,
                    within: &self.within,
                    approval: self.approval,
                })
                .collect();
            self.ownership.settle(&views, |zone| *zone == name("mine."))
        }

        /// `zone@catalog=label` of all members.
        fn has(&self) -> String {
            let members = self.ownership.members().iter();
            let words =
                members.map(|(zone, held)| format!("{zone}@{}={}", held.catalog, GroupText(&held.label)));
            words.collect::<Vec<_>>().join(" ")
        }
    }

    fn names(zones: &[ZoneName]) -> String {
        zones.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn members_come_and_go() {
        let mut node = Node::new();
        let settled = node.sees(&[("c.", Some("a.=1 b.=2 d.=3"))]);
        assert_eq!(names(&settled.added), "a. b. d.");
        let settled = node.sees(&[("c.", Some("a.=1 d.=3 e.=4"))]);
        assert_eq!(names(&settled.added), "e.");
        assert_eq!(settled.removed, [(name("b."), name("c."))]);
        assert_eq!(node.has(), "a.@c.=1 d.@c.=3 e.@c.=4");
        assert_eq!(node.sees(&[("c.", Some("a.=1 d.=3 e.=4"))]).removed, []);
        let settled = node.sees(&[("c.", Some("a.=9 d.=3 e.=4"))]);
        assert_eq!(settled.reset, [(name("a."), Reset::Label)]);
        assert_eq!(node.has(), "a.@c.=9 d.@c.=3 e.@c.=4");
    }

    #[test]
    fn nothing_goes_for_want_of_a_catalog() {
        let mut node = Node::new();
        node.sees(&[("c.", Some("a.=1 b.=2"))]);
        for _ in 0..2 {
            assert_eq!(
                node.sees(&[("c.", None)]),
                Settled { held: vec![vec![]], ignored: vec![vec![]], ..Settled::default() }
            );
        }
        let settled = node.sees(&[("c.", Some(""))]);
        assert_eq!((names(&settled.held[0]), settled.removed), ("a. b.".to_owned(), vec![]), "empty");
        assert_eq!(node.has(), "a.@c.=1 b.@c.=2");
        // Whoever takes the catalog out of the configuration means it.
        assert_eq!(node.sees(&[]).removed.len(), 2);
    }

    #[test]
    fn many_removals_wait_for_approval() {
        let mut node = Node::new();
        node.sees(&[("c.", Some("a.=1 b.=2 d.=3 e.=4 f.=5"))]);
        let fewer = Some("a.=1 b.=2 g.=7");
        let settled = node.sees(&[("c.", fewer)]);
        assert_eq!(
            (names(&settled.held[0]), names(&settled.added)),
            ("d. e. f.".to_owned(), "g.".to_owned())
        );
        assert_eq!(names(&node.sees(&[("c.", fewer)]).held[0]), "d. e. f.", "they stay held");
        // What leaves then is counted with them, and what comes back is held no longer.
        assert_eq!(names(&node.sees(&[("c.", Some("b.=2 g.=7"))]).held[0]), "a. d. e. f.");
        assert_eq!(names(&node.sees(&[("c.", Some("a.=1 b.=2 g.=7 f.=5"))]).held[0]), "");
        assert_eq!(node.has(), "a.@c.=1 b.@c.=2 f.@c.=5 g.@c.=7");
        assert_eq!(names(&node.sees(&[("c.", Some("g.=7"))]).held[0]), "a. b. f.");
        node.approval = Approval::Given(2);
        assert_eq!(names(&node.sees(&[("c.", Some("g.=7"))]).held[0]), "a. b. f.", "others than were seen");
        node.approval = Approval::Given(3);
        assert_eq!(node.sees(&[("c.", Some("g.=7"))]).removed.len(), 3);
        assert_eq!(node.has(), "g.@c.=7");
        node.approval = Approval::Given(1);
        node.sees(&[("c.", Some(""))]);
        assert_eq!(node.has(), "", "an empty one can be approved, too");
    }

    #[test]
    fn the_limit_is_a_number_or_a_share() {
        let many = |from: usize| (from..100).map(|n| format!("{n}.=x ")).collect::<String>();
        let mut node = Node::new();
        node.sees(&[("c.", Some(&many(0)))]);
        assert_eq!(node.sees(&[("c.", Some(&many(11)))]).held[0].len(), 11);
        assert_eq!(node.sees(&[("c.", Some(&many(10)))]).removed.len(), 10, "a tenth");
        // What has left before counts, too: of a hundred then, ten may go.
        node.left = 10;
        assert_eq!(node.sees(&[("c.", Some(&many(11)))]).held[0].len(), 1);
        // And of ninety-eight nine.
        node.left = 8;
        assert_eq!(node.sees(&[("c.", Some(&many(11)))]).removed.len(), 1);
    }

    #[test]
    fn who_has_a_name_keeps_it() {
        let mut node = Node::new();
        let settled = node.sees(&[("c.", Some("a.=1 mine.=2")), ("d.", Some("a.=1"))]);
        assert_eq!(settled.ignored[0], [(name("mine."), Ignored::Configured)]);
        assert_eq!(settled.ignored[1], [(name("a."), Ignored::Elsewhere(name("c.")))]);
        // Also when the other is the first of the configuration.
        node.sees(&[("d.", Some("a.=1")), ("c.", Some("a.=1 mine.=2"))]);
        assert_eq!(node.has(), "a.@c.=1");
        let settled = node.sees(&[("d.", Some("a.=1")), ("c.", Some("mine.=2"))]);
        assert_eq!(names(&settled.held[1]), "", "one is no more than may go");
        assert_eq!(settled.reset, [(name("a."), Reset::Owner)], "from scratch");
        assert_eq!(node.has(), "a.@d.=1");
    }

    #[test]
    fn what_is_configured_by_hand_is_given_up() {
        let mut node = Node::new();
        let held = Held { catalog: name("c."), label: b"1".as_slice().into(), groups: Vec::new() };
        node.ownership = Ownership::new([(name("mine."), held)]);
        let settled = node.sees(&[("c.", Some("mine.=1 a.=1"))]);
        assert_eq!(settled.ignored[0], [(name("mine."), Ignored::Configured)]);
        assert_eq!(node.has(), "a.@c.=1");
    }

    #[test]
    fn names_can_be_limited() {
        let mut node = Node::new();
        node.within = vec![name("good.")];
        let settled = node.sees(&[("c.", Some("a.good.=1 good.=2 a.bad.=3"))]);
        assert_eq!(settled.ignored[0], [(name("a.bad."), Ignored::NotWithin)]);
        assert_eq!(node.has(), "a.good.@c.=1 good.@c.=2");
    }

    #[test]
    fn a_member_that_is_offered_moves() {
        let mut node = Node::new();
        node.sees(&[("c.", Some("a.=1 b.=2 x.=9")), ("d.", Some("y.=9"))]);
        // Offered, and not taken yet.
        node.sees(&[("c.", Some("a.=1>d. b.=2>d. x.=9")), ("d.", Some("y.=9"))]);
        assert_eq!(node.has(), "a.@c.=1 b.@c.=2 x.@c.=9 y.@d.=9");
        let settled = node.sees(&[("c.", Some("a.=1>d. b.=2>d. x.=9")), ("d.", Some("a.=1 b.=7 y.=9"))]);
        assert_eq!(settled.moved, [(name("a."), name("c."), name("d."))]);
        assert_eq!(settled.reset, [(name("b."), Reset::Owner)], "another label");
        assert_eq!(settled.ignored, [vec![], vec![]], "the old one may keep it for a while");
        assert_eq!(node.has(), "a.@d.=1 b.@d.=7 x.@c.=9 y.@d.=9");
        let settled = node.sees(&[("c.", Some("x.=9")), ("d.", Some("a.=1 b.=7 y.=9"))]);
        assert_eq!((settled.removed, settled.held), (vec![], vec![vec![], vec![]]));
    }

    #[test]
    fn the_old_owner_can_keep_what_there_is() {
        let mut node = Node::new();
        node.sees(&[("c.", Some("a.=1 x.=9")), ("d.", Some("y.=9"))]);
        // Under another label it is another zone, whatever the new owner calls it.
        let settled = node.sees(&[("c.", Some("a.=2>d. x.=9")), ("d.", Some("a.=1 y.=9"))]);
        assert_eq!(settled.reset, [(name("a."), Reset::Owner)]);
        assert_eq!((settled.moved, node.has()), (vec![], "a.@d.=1 x.@c.=9 y.@d.=9".to_owned()));
    }

    #[test]
    fn offers_are_followed_to_the_end() {
        let mut node = Node::new();
        node.sees(&[("c.", Some("a.=1 b.=1 x.=9")), ("d.", Some("y.=9")), ("e.", Some("z.=9"))]);
        let catalogs = [
            ("c.", Some("a.=1>d. b.=1>d. x.=9")),
            ("d.", Some("a.=1>e. b.=2>e. y.=9")),
            ("e.", Some("a.=1 b.=1 z.=9")),
        ];
        let settled = node.sees(&catalogs);
        assert_eq!(settled.moved, [(name("a."), name("c."), name("e."))]);
        assert_eq!(settled.reset, [(name("b."), Reset::Owner)], "who had it in between has another label");
        assert_eq!(settled.ignored, [vec![], vec![], vec![]]);
        assert!(!node.sees(&catalogs).is_change());
        // In a circle it stays.
        let circle =
            [("c.", Some("a.=1>d. x.=9")), ("d.", Some("a.=1>e. y.=9")), ("e.", Some("a.=1>c. b.=1 z.=9"))];
        assert!(!node.sees(&circle).is_change());
        assert_eq!(node.has(), "a.@e.=1 b.@e.=1 x.@c.=9 y.@d.=9 z.@e.=9");
    }

    #[test]
    fn an_offer_has_to_stand_when_it_is_taken() {
        let mut node = Node::new();
        node.sees(&[("c.", Some("a.=1>d. x.=9")), ("d.", Some("y.=9"))]);
        node.sees(&[("c.", Some("a.=1 x.=9")), ("d.", Some("a.=1 y.=9"))]);
        assert_eq!(node.has(), "a.@c.=1 x.@c.=9 y.@d.=9");
        // A catalog that is not good now offers nothing.
        node.sees(&[("c.", None), ("d.", Some("a.=1 y.=9"))]);
        assert_eq!(node.has(), "a.@c.=1 x.@c.=9 y.@d.=9");
    }

    /// Any row of versions: a member goes for one reason alone, and nobody has what another one has.
    #[test]
    fn whatever_catalogs_say_a_member_goes_only_for_a_good_one_without_it() {
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut node = Node::new();
            for _ in 0..6 {
                let mut texts = [None, None, None];
                for text in &mut texts {
                    if random.u8(..5) == 0 {
                        continue; // broken
                    }
                    let mut words = String::new();
                    for zone in ["a.", "b.", "d.", "e.", "f.", "mine."] {
                        let coo = ["", "", ">1.", ">2."][random.usize(..4)];
                        if random.bool() {
                            words += &format!("{zone}={}{coo} ", random.u8(..2));
                        }
                    }
                    *text = Some(words);
                }
                let names = ["1.", "2.", "3."];
                let catalogs: Vec<_> = names.into_iter().zip(texts.iter().map(Option::as_deref)).collect();
                let read: Vec<_> = texts.iter().map(|text| text.as_deref().map(catalog)).collect();
                let of = |owner: &ZoneName| names.iter().position(|of| name(of) == *owner).unwrap();
                let before = node.ownership.clone();
                let settled = node.sees(&catalogs);
                for (zone, owner) in &settled.removed {
                    let catalog = read[of(owner)].as_ref();
                    let is_good = catalog.is_some_and(|catalog| !catalog.members.is_empty());
                    assert!(is_good, "seed {seed}: {zone}");
                    assert!(
                        !catalog.is_some_and(|catalog| catalog.members.contains_key(zone)),
                        "seed {seed}: {zone}"
                    );
                }
                for (zone, held) in before.members() {
                    let is_gone = settled.removed.iter().any(|(gone, _)| gone == zone);
                    let now = node.ownership.members().get(zone);
                    assert_eq!(is_gone, now.is_none(), "seed {seed}: {zone}");
                    let Some(now) = now else { continue };
                    let is_reset = settled.reset.iter().any(|(reset, _)| reset == zone);
                    assert!(now.label == held.label || is_reset, "seed {seed}: {zone}");
                    // It keeps what it has only where its own catalog has offered it, and has the same label.
                    if now.catalog != held.catalog && !is_reset {
                        let offer =
                            read[of(&held.catalog)].as_ref().and_then(|catalog| catalog.members.get(zone));
                        assert!(offer.is_some_and(|offer| offer.coo.is_some()), "seed {seed}: {zone}");
                        assert!(offer.is_some_and(|offer| offer.label == held.label), "seed {seed}: {zone}");
                    }
                }
                assert!(!node.ownership.members().contains_key(&name("mine.")), "seed {seed}");
                // The same again changes nothing.
                let again = node.sees(&catalogs);
                assert!(!again.is_change(), "seed {seed}: {again:?}");
            }
        }
    }

    #[test]
    fn two_that_offer_to_each_other_leave_it_where_it_is() {
        let mut node = Node::new();
        for _ in 0..3 {
            node.sees(&[("c.", Some("a.=1>d. x.=9")), ("d.", Some("a.=2>c. y.=9"))]);
            assert_eq!(node.has(), "a.@c.=1 x.@c.=9 y.@d.=9");
        }
        let mut fresh = Node::new();
        fresh.sees(&[("c.", Some("a.=1>d. x.=9")), ("d.", Some("a.=2 y.=9"))]);
        assert_eq!(
            fresh.has(),
            "a.@d.=2 x.@c.=9 y.@d.=9",
            "who sees both for the first time follows the offer"
        );
    }
}

/// Owners and data made of what means something to a catalog and of noise, from seeds that a failure names.
#[test]
fn whatever_a_catalog_holds_it_is_read_or_refused() {
    const LABELS: [&[u8]; 7] = [b"zones", b"ZONES", b"version", b"group", b"coo", b"a", b"\0\xff"];
    let apex = name(APEX);
    let (mut good, mut broken) = (0, 0);
    for seed in 0..3_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut reader = Reader::new(apex.as_name());
        let version = NameBuf::child(b"version", apex.as_name()).unwrap();
        let mut read = reader.take(version.as_name(), wire::RecordType::TXT, b"\x012");
        for _ in 0..random.usize(..6) {
            let mut owner: NameBuf = if random.u8(..9) == 0 { NameBuf::root() } else { (&apex).into() };
            for _ in 0..random.usize(..5) {
                owner = NameBuf::child(LABELS[random.usize(..LABELS.len())], owner.as_name()).unwrap();
            }
            let rtype =
                [wire::RecordType::TXT, wire::RecordType::PTR, wire::RecordType::A][random.usize(..3)];
            let rdata: Vec<u8> = match random.u8(..3) {
                0 => (0..random.usize(..8)).map(|_| random.u8(..4)).collect(),
                1 => vec![1, random.u8(b'a'..=b'c'), 0],
                _ => vec![1, b'x'],
            };
            read = read.and_then(|()| reader.take(owner.as_name(), rtype, &rdata));
        }
        match read.and_then(|()| reader.finish()) {
            Ok(catalog) => {
                let labels: std::collections::HashSet<_> =
                    catalog.members.values().map(|member| member.label.clone()).collect();
                assert_eq!(labels.len(), catalog.members.len(), "seed {seed}");
                good += usize::from(!catalog.members.is_empty());
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "seed {seed}");
                broken += 1;
            }
        }
    }
    assert!(good > 50 && broken > 50, "{good} with members, {broken} broken");
}
