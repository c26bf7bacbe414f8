//! Pools in signed zones: BIND's `delv` validates every answer, with the zone's own key as its trust anchor.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::signing::{Algorithm, Denial, make_keys, sign_with_keys};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, WWW, http, pool};

/// The zone of these tests, before it is signed: what is at `www`, `six` and `both` is not of the same families as the pools'.
const ZONE: &str = "$TTL 300\n@ SOA ns1 hostmaster 1 86400 86400 604800 60\n  NS ns1\nns1 A 192.0.2.1\nwww A 192.0.2.80\nwww TXT \
                    \"of the zone\"\nsix AAAA 2001:db8::6\nboth A 192.0.2.81\nboth AAAA 2001:db8::81\n*.wild A 192.0.2.82\n*.wild TXT \
                    \"any\"\nalias CNAME other\nother CNAME www\ndeep.empty TXT \"below\"\n";

/// A zone, its keys and a node that serves it.
struct Signed {
    node: Node,
    denial: Denial,
}

impl Signed {
    /// A node that is not started, with a signed zone.
    fn new(algorithm: Algorithm, denial: Denial) -> Result<Self> {
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
    fn sign(&self, zone: &str) -> Result<()> {
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
    fn configure(&self, lines: &str, pools: &str) -> Result<()> {
        let key = Self::signing_key(&self.keys(256)?);
        self.configure_zone(&format!("{key}{lines}"), pools)
    }

    fn configure_zone(&self, lines: &str, pools: &str) -> Result<()> {
        self.node
            .configure(&format!("[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n{lines}{pools}"))
    }

    /// What a validating client says to a question.
    fn asks(&self, name: &str, rtype: &str) -> Result<String> {
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
        command.arg(format!("@{}", address.ip())).arg("-p").arg(address.port().to_string());
        command.arg("-a").arg(self.node.path("anchors")).arg("+root=example.com.").args([name, rtype]);
        let output = command.output()?;
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok(text.concat())
    }

    /// A client believes that a name has these addresses, and no others.
    fn validates(&self, name: &str, wanted: &[IpAddr]) -> Result<()> {
        for (rtype, is_ipv4) in [("A", true), ("AAAA", false)] {
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
            (found.sort(), of_type.sort());
            let is_good =
                said.contains("fully validated") && !said.contains("failed") && !said.contains("unsigned");
            ensure!(is_good && found == of_type, "{name} {rtype}: {of_type:?}: {said}\n{}", self.node.log());
        }
        Ok(())
    }

    /// A client believes that there is nothing of this type at the name.
    fn denies(&self, name: &str, rtype: &str) -> Result<()> {
        let said = self.asks(name, rtype)?;
        ensure!(
            said.contains("negative response, fully validated"),
            "{name} {rtype}: {said}\n{}",
            self.node.log()
        );
        Ok(())
    }
}

fn v6(text: &str) -> Result<IpAddr> {
    Ok(IpAddr::V6(text.parse()?))
}

fn kinds() -> impl Iterator<Item = (Algorithm, Denial)> {
    [
        (Algorithm::Ed25519, Denial::Nsec),
        (Algorithm::EcdsaP256, Denial::Nsec),
        (Algorithm::Ed25519, Denial::Nsec3Salted),
        (Algorithm::EcdsaP256, Denial::Nsec3OptOut),
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
        let all = [
            WWW,
            "six.example.com",
            "both.example.com",
            "x.wild.example.com",
            "alias.example.com",
            "example.com",
        ];
        let each = |address: Ipv4Addr| -> Result<()> {
            signed.node.answers(WWW, &[address])?;
            all.iter().try_for_each(|name| signed.validates(name, &[IpAddr::V4(address)]))?;
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
