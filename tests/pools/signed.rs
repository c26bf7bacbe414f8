//! Pools in signed zones: BIND's `delv` validates every answer, with the zone's own key as its trust anchor.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::signing::{Algorithm, Denial, make_keys, sign_with_keys};
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, TYPE_AAAA, WWW, http, pool};

const NAMES: &str = "\"www.example.com\"";

/// The zone of these tests, before it is signed: what is at `www`, `six` and `both` is not of the same families as the
/// pools'.
const ZONE: &str = "$TTL 300\n@ SOA ns1 hostmaster 1 86400 86400 604800 60\n  NS ns1\nns1 A 192.0.2.1\nwww A 192.0.2.80\nwww TXT \
                    \"of the zone\"\nsix AAAA 2001:db8::6\nboth A 192.0.2.81\nboth AAAA 2001:db8::81\n*.wild A 192.0.2.82\n*.wild TXT \
                    \"any\"\nalias CNAME other\nother CNAME www\ndeep.empty TXT \"below\"\nlast A 192.0.2.83\n";

/// A zone, its keys and a node that serves it.
pub(crate) struct Signed {
    pub(crate) node: Node,
    denial: Denial,
}

impl Signed {
    /// A node that is not started, with a signed zone.
    pub(crate) fn new(algorithm: Algorithm, denial: Denial) -> Result<Self> {
        let signed = Self { node: Node::new("")?, denial };
        signed.make_keys(algorithm)?;
        signed.sign(ZONE)?;
        Ok(signed)
    }

    fn folder(&self) -> PathBuf {
        self.node.path("keys")
    }

    fn make_keys(&self, algorithm: Algorithm) -> Result<()> {
        std::fs::create_dir_all(self.folder())?;
        make_keys(&Name::parse("example.com")?, algorithm, &self.folder())
    }

    /// Has the zone signed with all keys, in place of what it was.
    pub(crate) fn sign(&self, zone: &str) -> Result<()> {
        self.node.write("plain", zone)?;
        let zones = [(Name::parse("example.com")?, self.node.path("plain"))];
        let signed = sign_with_keys(&zones, self.denial, &self.folder())?;
        let (_, file) = signed.first().context("one zone")?;
        self.node.write("example.com", &std::fs::read_to_string(file)?)
    }

    /// The keys with these flags: their names, without what their files' names end in.
    fn keys(&self, flags: u16) -> Result<Vec<PathBuf>> {
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(self.folder())? {
            let path = entry?.path();
            let is_key = path.extension().is_some_and(|extension| extension == "key");
            if is_key && std::fs::read_to_string(&path)?.contains(&format!("DNSKEY {flags} ")) {
                keys.push(path.with_extension(""));
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// The line that has a zone sign with these keys.
    fn signing_key(keys: &[PathBuf]) -> String {
        let files: Vec<String> = keys.iter().map(|key| format!("\"{}.private\"", key.display())).collect();
        format!("signing-key = [{}]\n", files.join(", "))
    }

    /// Configures the zone with its key that signs sets, these lines more, and pools.
    pub(crate) fn configure(&self, lines: &str, pools: &str) -> Result<()> {
        let key = Self::signing_key(&self.keys(256)?);
        self.configure_zone(&format!("{key}{lines}"), pools)
    }

    fn configure_zone(&self, lines: &str, pools: &str) -> Result<()> {
        self.node
            .configure(&format!("[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n{lines}{pools}"))
    }

    /// What a validating client says to a question.
    pub(crate) fn asks(&self, name: &str, rtype: &str) -> Result<String> {
        self.asks_from(None, name, rtype)
    }

    /// The same from this address.
    fn asks_from(&self, client: Option<Ipv4Addr>, name: &str, rtype: &str) -> Result<String> {
        let mut anchors = "trust-anchors {\n".to_owned();
        for key in self.keys(257)? {
            let text = std::fs::read_to_string(key.with_extension("key"))
                .or_else(|_| std::fs::read_to_string(format!("{}.key", key.display())))?;
            let line = text.lines().find(|line| !line.starts_with(';')).context("a key")?;
            let (_, data) = line.split_once("DNSKEY 257 3 ").context("a key")?;
            let (algorithm, octets) = data.split_once(' ').context("a key")?;
            anchors += &format!("example.com. static-key 257 3 {algorithm} \"{octets}\";\n");
        }
        self.node.write("anchors", &(anchors + "};\n"))?;
        let address = self.node.address;
        let mut command = Command::new(tools::program("delv")?);
        if let Some(client) = client {
            command.arg("-b").arg(client.to_string());
        }
        command.arg(format!("@{}", address.ip())).arg("-p").arg(address.port().to_string());
        command.arg("-a").arg(self.node.path("anchors")).arg("+root=example.com.").args([name, rtype]);
        let output = command.output()?;
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok(text.concat())
    }

    /// A client believes that a name has these addresses, and no others.
    pub(crate) fn validates(&self, name: &str, wanted: &[IpAddr]) -> Result<()> {
        for rtype in ["A", "AAAA"] {
            let is_ipv4 = rtype == "A";
            let of_type: Vec<String> =
                wanted.iter().filter(|it| it.is_ipv4() == is_ipv4).map(ToString::to_string).collect();
            let said = self.asks(name, rtype)?;
            if of_type.is_empty() {
                ensure!(
                    said.contains("negative response, fully validated"),
                    "{name} {rtype}: {said}\n{}",
                    self.node.log()
                );
                continue;
            }
            let is_set = |line: &&str| line.contains(&format!("\tIN\t{rtype}\t"));
            let mut found: Vec<String> = said
                .lines()
                .filter(is_set)
                .filter_map(|line| Some(line.rsplit_once('\t')?.1.to_owned()))
                .collect();
            let mut of_type = of_type;
            found.sort();
            of_type.sort();
            ensure!(
                is_believed(&said) && found == of_type,
                "{name} {rtype}: {of_type:?}: {said}\n{}",
                self.node.log()
            );
        }
        Ok(())
    }

    /// A client believes that there is nothing of this type at the name.
    pub(crate) fn denies(&self, name: &str, rtype: &str) -> Result<()> {
        let said = self.asks(name, rtype)?;
        ensure!(
            said.contains("negative response, fully validated"),
            "{name} {rtype}: {said}\n{}",
            self.node.log()
        );
        Ok(())
    }
}

/// Whether the client takes all that was answered for good: it says so once, and again where that changes.
pub(crate) fn is_believed(said: &str) -> bool {
    let comments: Vec<&str> = said.lines().filter(|line| line.starts_with(';')).collect();
    comments == ["; fully validated"]
}

fn v6(text: &str) -> Result<IpAddr> {
    Ok(IpAddr::V6(text.parse()?))
}

pub(crate) fn kinds() -> impl Iterator<Item = (Algorithm, Denial)> {
    [
        (Algorithm::Ed25519, Denial::Nsec),
        (Algorithm::EcdsaP256, Denial::Nsec),
        (Algorithm::Ed25519, Denial::Nsec3Salted),
        (Algorithm::EcdsaP256, Denial::Nsec3),
    ]
    .into_iter()
}

#[test]
fn whatever_state_a_pool_is_in_its_answers_validate() -> Result<()> {
    for (algorithm, denial) in kinds() {
        let ([first, second], port) = addresses()?;
        let (one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
        let mut signed = Signed::new(algorithm, denial)?;
        let names = "\"www.example.com\", \"six.example.com\", \"both.example.com\", \"*.wild.example.com\", \"example.com\"";
        let lines = format!("kind = \"failover\"\nfail-back-ms = 0\n{}", http(port));
        signed.configure("", &pool("web", names, &lines, &[(first, 1), (second, 2)]))?;
        signed.node.start()?;
        let all = [WWW, "six.example.com", "both.example.com", "x.wild.example.com", "example.com"];
        let each = |address: Ipv4Addr| -> Result<()> {
            signed.node.answers(WWW, &[address])?;
            all.iter().try_for_each(|name| signed.validates(name, &[IpAddr::V4(address)]))?;
            let said = signed.asks("alias.example.com", "A")?;
            ensure!(is_believed(&said) && said.contains(&format!("\t{address}\n")), "{said}");
            signed.denies(WWW, "MX")?;
            signed.denies("six.example.com", "TXT")?;
            signed.denies("y.wild.example.com", "MX")?;
            signed.denies("nothing.example.com", "A")?;
            signed.denies("empty.example.com", "A")?;
            signed.denies("example.com", "MX")
        };
        each(first).with_context(|| format!("{algorithm:?} {denial}"))?;
        drop(one);
        each(second).with_context(|| format!("{algorithm:?} {denial}"))?;
        let said = signed.asks(WWW, "TXT")?;
        ensure!(said.contains("; fully validated") && said.contains("of the zone"), "{said}");
    }
    Ok(())
}

/// The state that all endpoints of a family are down in, each policy, with what the zone has at the name.
#[test]
fn families_come_and_go() -> Result<()> {
    for (algorithm, denial) in
        [(Algorithm::Ed25519, Denial::Nsec), (Algorithm::EcdsaP256, Denial::Nsec3OptOut)]
    {
        let ([first], port) = addresses()?;
        let one = Endpoint::start(first, port)?;
        let mut signed = Signed::new(algorithm, denial)?;
        // What is at ::1 is never asked: nothing listens there.
        let of = |name: &str, all_down: &str| {
            let names = format!("\"{name}.example.com\"");
            let lines = format!("all-down = {all_down}\n{}", http(port));
            pool(name, &names, &lines, &[(first, 1)])
                + "[[pool.endpoint]]\nname = \"six\"\naddress = \"::1\"\n"
        };
        let pools = [
            of("www", "\"all\""),
            of("six", "\"zone\""),
            of("both", "\"fallback\"\nfallback = \"192.0.2.99\""),
            of("last", "\"last-good\""),
        ];
        signed.configure("", &pools.concat())?;
        signed.node.start()?;
        let first = IpAddr::V4(first);
        let zone_six = v6("2001:db8::6")?;
        let fallback = IpAddr::V4("192.0.2.99".parse()?);
        for name in ["www", "six", "both", "last"] {
            signed.node.answers(&format!("{name}.example.com"), &[first.to_string().parse()?])?;
        }
        let context = || format!("{algorithm:?} {denial}");
        signed.validates(WWW, &[first, v6("::1")?]).with_context(context)?;
        // One family has nothing of its own.
        signed.validates("six.example.com", &[first]).with_context(context)?;
        signed.validates("both.example.com", &[first]).with_context(context)?;
        let last = signed.node.ask("last.example.com", TYPE_AAAA)?.addresses;
        signed.validates("last.example.com", &[&[first][..], &last].concat()).with_context(context)?;
        drop(one);
        signed.node.answers("both.example.com", &["192.0.2.99".parse()?])?;
        signed.validates(WWW, &[first, v6("::1")?]).with_context(context)?;
        signed.validates("six.example.com", &[zone_six]).with_context(context)?;
        signed.validates("last.example.com", &[&[first][..], &last].concat()).with_context(context)?;
        signed.validates("both.example.com", &[fallback]).with_context(context)?;
    }
    Ok(())
}

#[test]
fn keys_that_do_not_fit_are_told_and_the_name_is_the_zones_own() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let mut signed = Signed::new(Algorithm::Ed25519, Denial::Nsec)?;
    let zone: IpAddr = "192.0.2.80".parse()?;
    let web = pool("web", NAMES, &http(port), &[(first, 1)]);
    let good = signed.keys(256)?;
    signed.configure("", &web)?;
    let (is_good, said) = signed.node.check()?;
    ensure!(is_good, "{said}");
    // None.
    signed.configure_zone("", &web)?;
    let (is_good, said) = signed.node.check()?;
    ensure!(!is_good && said.contains("www.example.com. can't answer with the pool web: the zone is signed, and there is no key here"), "{said}");
    signed.node.start()?;
    signed.node.finds("web", first, "up")?;
    signed.validates(WWW, &[zone])?;
    ensure!(
        signed
            .node
            .does(&["pool", "status", "web"])?
            .contains("problem: www.example.com.: the zone is signed")
    );
    // With a reload it can.
    signed.configure("", &web)?;
    signed.node.does(&["reload"])?;
    signed.node.answers(WWW, &[first])?;
    signed.validates(WWW, &[IpAddr::V4(first)])?;
    ensure!(!signed.node.does(&["pool", "status", "web"])?.contains("problem:"));
    // Another key than the zone's.
    let other = Signed::new(Algorithm::Ed25519, Denial::Nsec)?;
    signed.configure_zone(&Signed::signing_key(&other.keys(256)?), &web)?;
    let (is_good, said) = signed.node.check()?;
    let file = format!("{}.private is not in it", other.keys(256)?[0].display());
    ensure!(
        !is_good && said.contains("no signing key is one of the zone's DNSKEY set") && said.contains(&file),
        "{said}"
    );
    signed.node.does(&["reload"])?;
    signed.node.answers(WWW, &["192.0.2.80".parse()?])?;
    signed.validates(WWW, &[zone])?;
    ensure!(signed.node.does(&["pool", "status", "web"])?.contains("is not in it"));
    // Both.
    signed.configure_zone(&Signed::signing_key(&[good.clone(), other.keys(256)?].concat()), &web)?;
    let (is_good, said) = signed.node.check()?;
    ensure!(
        is_good && said.contains("warning: a signing key is not one of the DNSKEY set of example.com."),
        "{said}"
    );
    // What others may read.
    let private = format!("{}.private", good[0].display());
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o640))?;
    let (is_good, said) = signed.node.check()?;
    ensure!(
        !is_good && said.contains(&format!("others may read or change {private}, with mode 640")),
        "{said}"
    );
    let refused = signed.node.ctl(&["reload"])?;
    ensure!(!refused.status.success(), "{refused:?}");
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))?;
    // Names that are not in the zone.
    let web = pool("web", "\"new.example.com\", \"empty.example.com\"", &http(port), &[(first, 1)]);
    signed.configure("", &web)?;
    let (is_good, said) = signed.node.check()?;
    for name in ["new", "empty"] {
        let line =
            format!("{name}.example.com. is not in its chain of denial: add {name}.example.com. to the zone");
        ensure!(!is_good && said.contains(&line), "{said}");
    }
    signed.node.does(&["reload"])?;
    signed.node.answers(WWW, &["192.0.2.80".parse()?])?;
    signed.denies("new.example.com", "A")?;
    let log = signed.node.log();
    let secret = std::fs::read_to_string(&private)?;
    let secret = secret.lines().find_map(|line| line.strip_prefix("PrivateKey: ")).context("a secret")?;
    ensure!(!log.contains(secret) && log.contains("can't answer with its pool"), "{log}");
    Ok(())
}

#[test]
fn a_key_rolls_over() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let mut signed = Signed::new(Algorithm::Ed25519, Denial::Nsec)?;
    let web = pool("web", NAMES, &http(port), &[(first, 1)]);
    let serial = |serial: u32| ZONE.replace("hostmaster 1", &format!("hostmaster {serial}"));
    signed.configure("", &web)?;
    signed.node.start()?;
    signed.node.answers(WWW, &[first])?;
    let first = IpAddr::V4(first);
    let signatures = |said: &str| said.matches("RRSIG\tA 15").count();
    // Both keys sign, and a client that knows either is content.
    let old = signed.keys(256)?;
    signed.make_keys(Algorithm::Ed25519)?;
    signed.sign(&serial(2))?;
    let both = signed.keys(256)?;
    signed.configure("", &web)?;
    signed.node.does(&["reload"])?;
    signed.validates(WWW, &[first])?;
    ensure!(signatures(&signed.asks(WWW, "A")?) == 2, "{}", signed.asks(WWW, "A")?);
    // The old one leaves the zone; that it is configured does no harm.
    for key in &old {
        for extension in ["key", "private"] {
            std::fs::rename(
                format!("{}.{extension}", key.display()),
                signed.node.path(&format!("old.{extension}")),
            )?;
        }
    }
    let moved = signed.node.path("old");
    let new: Vec<PathBuf> = both.into_iter().filter(|key| !old.contains(key)).collect();
    signed.sign(&serial(3))?;
    signed.configure_zone(&Signed::signing_key(&[vec![moved], new.clone()].concat()), &web)?;
    signed.node.does(&["reload"])?;
    signed.validates(WWW, &[first])?;
    ensure!(signatures(&signed.asks(WWW, "A")?) == 1);
    signed.configure_zone(&Signed::signing_key(&new), &web)?;
    signed.node.does(&["reload"])?;
    signed.validates(WWW, &[first])
}

#[test]
fn signatures_are_made_anew_in_time() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let mut signed = Signed::new(Algorithm::EcdsaP256, Denial::Nsec3)?;
    let lines = format!("ttl-s = 2\n{}", http(port));
    signed.configure("signature-validity-s = 10\n", &pool("web", NAMES, &lines, &[(first, 1)]))?;
    signed.node.start()?;
    signed.node.answers(WWW, &[first])?;
    let began = Instant::now();
    let mut seen = Vec::new();
    // Nothing happens, and longer than any signature is good all of them are.
    tools::poll("a third signature, and no bad one", SEEN_WITHIN, || {
        signed.validates(WWW, &[IpAddr::V4(first)])?;
        let said = signed.asks(WWW, "A")?;
        // Behind the TTL, which the client makes shorter when little is left.
        let (_, signature) = said.split_once("RRSIG\tA 13").context("a signature")?;
        if !seen.iter().any(|known| known == signature) {
            seen.push(signature.to_owned());
        }
        Ok((seen.len() == 3).then_some(()))
    })?;
    ensure!(began.elapsed() >= Duration::from_secs(9), "not more often than that");
    Ok(())
}

#[test]
fn the_zone_itself_is_transferred_and_digested_as_it_was_signed() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let mut signed = Signed::new(Algorithm::Ed25519, Denial::Nsec3)?;
    signed.configure("", &pool("web", NAMES, &http(port), &[(first, 1)]))?;
    signed.node.start()?;
    signed.node.answers(WWW, &[first])?;
    let plain = Node::new("")?;
    let mut plain = plain;
    plain.write("example.com", &std::fs::read_to_string(signed.node.path("example.com"))?)?;
    plain.start()?;
    let apex = Name::parse("example.com")?;
    let (mut steered, mut own) = (transfer(signed.node.address, &apex)?, transfer(plain.address, &apex)?);
    steered.sort();
    own.sort();
    ensure!(steered == own, "secondaries have the zone as it is");
    let digest = |node: &Node| -> Result<String> {
        let zones: serde_json::Value =
            serde_json::from_str(&node.does(&["zones", "--digests", "--json"])?)?;
        Ok(zones[0]["content"].as_str().or(zones[0]["digest"].as_str()).context("a digest")?.to_owned())
    };
    ensure!(digest(&signed.node)? == digest(&plain)?, "and one digest");
    Ok(())
}

/// Records in turned order are one set, with one signature.
#[test]
fn answers_that_take_turns_validate_with_one_signature() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let endpoints = [first, second, third].map(|address| Endpoint::start(address, port));
    let mut signed = Signed::new(Algorithm::EcdsaP256, Denial::Nsec)?;
    let lines = format!("kind = \"round-robin\"\n{}", http(port));
    signed.configure("", &pool("web", NAMES, &lines, &[(first, 1), (second, 1), (third, 1)]))?;
    signed.node.start()?;
    signed.node.answers(WWW, &[first, second, third])?;
    let all = [first, second, third].map(IpAddr::V4);
    let (mut firsts, mut signatures) = (Vec::new(), Vec::new());
    tools::poll("each was the first", SEEN_WITHIN, || {
        signed.validates(WWW, &all)?;
        let said = signed.asks(WWW, "A")?;
        firsts.extend(signed.node.ask(WWW, TYPE_A)?.addresses.first().copied());
        signatures.extend(said.lines().find(|line| line.contains("RRSIG\tA 13")).map(str::to_owned));
        Ok(all.iter().all(|address| firsts.contains(address)).then_some(()))
    })?;
    // Its numbers are random: one that was made anew would be another.
    signatures.dedup();
    ensure!(signatures.len() == 1, "{signatures:?}");
    drop(endpoints);
    Ok(())
}

/// Several places have the same endpoints: what is signed is what each of them gets.
#[test]
fn what_is_nearest_validates_from_every_place() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let _endpoints = [first, second, third].map(|address| Endpoint::start(address, port));
    let names = "\"www.example.com\", \"*.wild.example.com\"";
    let text = pool(
        "web",
        names,
        &format!("kind = \"nearest\"\n{}", http(port)),
        &[(first, 1), (second, 2), (third, 3)],
    );
    let text = text.replace("tier = 1\n", "places = \"DE\"\n").replace("tier = 2\n", "places = \"FR\"\n");
    let text = text.replace("tier = 3\n", "places = [\"FR\", \"*\"]\n");
    for (algorithm, denial) in kinds().take(2) {
        let mut signed = Signed::new(algorithm, denial)?;
        signed.node.write("places.csv", "127.130.0.0/16,DE\n127.131.0.0/16,FR\n127.131.9.0/24,DE\n")?;
        signed.configure("", &format!("[places]\nfile = \"places.csv\"\n{text}"))?;
        signed.node.start()?;
        for address in [first, second, third] {
            signed.node.finds("web", address, "up")?;
        }
        for (client, wanted) in [
            ([127, 130, 1, 1], &[first][..]),
            ([127, 131, 1, 1], &[second, third]),
            ([127, 131, 9, 1], &[first]),
            ([127, 132, 1, 1], &[third]),
        ] {
            for name in [WWW, "x.wild.example.com", "alias.example.com"] {
                let mut wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                wanted.sort_unstable();
                // What is known is shown before it is published.
                tools::poll("it is told", SEEN_WITHIN, || {
                    let said = signed.asks_from(Some(client.into()), name, "A")?;
                    ensure!(is_believed(&said), "{client:?} {name}: {said}\n{}", signed.node.log());
                    let records = said.lines().filter(|line| line.contains("\tIN\tA\t"));
                    let mut found: Vec<&str> = records.filter_map(|line| line.rsplit('\t').next()).collect();
                    found.sort_unstable();
                    Ok((found == wanted).then_some(()))
                })
                .with_context(|| format!("{client:?} {name}: {wanted:?}"))?;
            }
        }
        signed.denies(WWW, "MX")?;
    }
    Ok(())
}

/// Answers that each have a part of the addresses: every part is signed for itself.
#[test]
fn whichever_part_an_answer_has_it_validates() -> Result<()> {
    const ANSWERS: usize = 12;
    let ([first, second, third], port) = addresses()?;
    let _endpoints = [first, second, third].map(|address| Endpoint::start(address, port));
    let names = "\"www.example.com\", \"*.wild.example.com\"";
    let all = [(first, 1), (second, 1), (third, 1)];
    // Weights change meanwhile.
    let least_load = "kind = \"least-load\"\nload = \"response-time\"\nload-period-ms = 1000\nload-idle = 0";
    for (lines, len) in [
        ("kind = \"weighted\"", 1),
        (least_load, 1),
        ("kind = \"round-robin\"\nanswers-max = 2", 2),
        ("kind = \"hash\"", 1),
    ] {
        for (algorithm, denial) in kinds().take(3) {
            let mut signed = Signed::new(algorithm, denial)?;
            signed.configure("", &pool("web", names, &format!("{lines}\n{}", http(port)), &all))?;
            signed.node.start()?;
            for (address, _) in all {
                signed.node.finds("web", address, "up")?;
            }
            for name in [WWW, "x.wild.example.com", "alias.example.com"] {
                let mut parts = std::collections::BTreeSet::new();
                for _ in 0..ANSWERS {
                    let said = signed.asks(name, "A")?;
                    let records = said.lines().filter(|line| line.contains("\tIN\tA\t"));
                    let addresses: Vec<&str> = records.filter_map(|line| line.rsplit('\t').next()).collect();
                    ensure!(
                        is_believed(&said) && addresses.len() == len,
                        "{lines} {algorithm:?} {denial} {name}: {said}\n{}",
                        signed.node.log()
                    );
                    let mut addresses: Vec<String> = addresses.into_iter().map(str::to_owned).collect();
                    addresses.sort();
                    parts.insert(addresses);
                }
                // One client has the same part always where clients decide.
                ensure!((parts.len() > 1) != lines.contains("hash"), "{lines} {name}: {parts:?}");
            }
            signed.denies(WWW, "MX")?;
        }
    }
    Ok(())
}

#[test]
fn a_copy_of_a_signed_zone_signs_its_pools_answers_from_version_to_version() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let mut primary = Signed::new(Algorithm::Ed25519, Denial::Nsec3)?;
    primary.configure_zone("", "")?;
    primary.node.start()?;
    let mut copy = Signed { node: Node::new("")?, denial: primary.denial };
    std::os::unix::fs::symlink(primary.folder(), copy.folder())?;
    let key = Signed::signing_key(&primary.keys(256)?);
    copy.node.configure(&format!(
        "[[zone]]\nname = \"example.com\"\nprimaries = [\"{}\"]\n{key}{}",
        primary.node.address,
        pool("web", NAMES, &http(port), &[(first, 1)])
    ))?;
    copy.node.start()?;
    for serial in 2..5 {
        copy.node.answers(WWW, &[first])?;
        copy.validates(WWW, &[IpAddr::V4(first)])?;
        copy.denies(WWW, "MX")?;
        let text = ZONE.replace("hostmaster 1", &format!("hostmaster {serial}"));
        primary.sign(&format!("{text}n{serial} A 192.0.2.{serial}\n"))?;
        primary.node.does(&["reload"])?;
        copy.node.does(&["refresh", "example.com"])?;
        let new = format!("n{serial}.example.com");
        copy.node.answers(&new, &[Ipv4Addr::new(192, 0, 2, serial)])?;
        copy.validates(&new, &[IpAddr::V4(Ipv4Addr::new(192, 0, 2, serial))])?;
    }
    // With the next version the key is gone.
    for key in primary.keys(256)? {
        for extension in ["key", "private"] {
            let gone = primary.node.path(&format!("gone.{extension}"));
            std::fs::rename(format!("{}.{extension}", key.display()), gone)?;
        }
    }
    primary.make_keys(Algorithm::Ed25519)?;
    primary.sign(&ZONE.replace("hostmaster 1", "hostmaster 9"))?;
    primary.node.does(&["reload"])?;
    copy.node.does(&["refresh", "example.com"])?;
    copy.node.answers(WWW, &["192.0.2.80".parse()?])?;
    copy.validates(WWW, &["192.0.2.80".parse()?])?;
    let status = copy.node.does(&["pool", "status", "web"])?;
    ensure!(
        status.contains("problem: www.example.com.: the zone is signed, and its answers can't be"),
        "{status}"
    );
    Ok(())
}
