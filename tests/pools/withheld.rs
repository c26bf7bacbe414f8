//! What is answered when nothing is good and nothing is to be told of endpoints: no data, or a failure.

use anyhow::{Result, ensure};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::signing::{Algorithm, Denial};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, TYPE_AAAA, TYPE_TXT, WWW, ZONE, http, pool};
use crate::signed::{Signed, kinds};

const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_ANY: u16 = 255;
const OPTION_EDE: u16 = 15;
const AA: u16 = 0x0400;
const SERVFAIL: u16 = 2;

/// Names with other records, with none in the zone at all, and any below a wildcard.
const NAMES: &str = "\"www.example.com\", \"only.example.com\", \"*.wild.example.com\"";
const ANSWERING: [&str; 3] = [WWW, "only.example.com", "x.wild.example.com"];

/// The Extended DNS Error of an answer: its code and text.
fn error(message: &Message) -> Option<(u16, String)> {
    let (_, data) = message.opt.as_ref()?.options.iter().find(|(code, _)| *code == OPTION_EDE)?;
    let (code, text) = data.split_at_checked(2)?;
    Some((u16::from_be_bytes([code[0], code[1]]), String::from_utf8_lossy(text).into_owned()))
}

/// That there is no data of the type, said with authority, after so many records of a chain.
fn has_no_data(message: &Message, chain: usize) -> Result<()> {
    ensure!(message.rcode() == 0 && message.has(AA), "{message}");
    ensure!(
        message.answer.len() == chain && message.answer.iter().all(|it| it.rtype == TYPE_CNAME),
        "{message}"
    );
    ensure!(message.authority.iter().any(|record| record.rtype == TYPE_SOA), "{message}");
    ensure!(error(message).is_none(), "{message}");
    Ok(())
}

/// That it can't be answered, with the reason, and nothing else.
fn has_failed(message: &Message) -> Result<()> {
    ensure!(message.rcode() == SERVFAIL && !message.has(AA), "{message}");
    ensure!(message.answer.is_empty() && message.authority.is_empty(), "{message}");
    ensure!(error(message) == Some((0, "no endpoint is healthy".to_owned())), "{:?}", error(message));
    Ok(())
}

fn ask(node: &Node, name: &str, rtype: u16) -> Result<Message> {
    node.message(name, rtype, Some(Edns::dnssec(1232)))
}

fn ask_over_tcp(node: &Node, name: &str, rtype: u16) -> Result<Message> {
    let query = Query::new(Name::parse(name)?, rtype).bytes(9);
    let answers = client::tcp(node.address, &[query])?;
    Message::decode(answers[0].as_ref().expect("an answer over TCP"))
}

#[test]
fn with_nothing_good_a_name_has_no_data_or_fails_and_comes_back() -> Result<()> {
    for all_down in ["empty", "servfail"] {
        let ([first], port) = addresses()?;
        let mut endpoint = Some(Endpoint::start(first, port)?);
        let lines = format!("all-down = \"{all_down}\"\n{}", http(port));
        let mut node = Node::new(&pool("web", NAMES, &lines, &[(first, 1)]))?;
        node.write(
            "example.com",
            &format!("{ZONE}alias CNAME further\nfurther CNAME www\n*.wild TXT \"any\"\n"),
        )?;
        node.start()?;
        for _ in 0..2 {
            for name in ANSWERING {
                node.answers(name, &[first])?;
            }
            drop(endpoint.take());
            node.finds("web", first, "down")?;
            tools::poll("nothing is told of it", SEEN_WITHIN, || {
                Ok(ask(&node, WWW, TYPE_A)?.answer.is_empty().then_some(()))
            })?;
            for name in ANSWERING {
                // There never was any.
                has_no_data(&ask(&node, name, TYPE_AAAA)?, 0)?;
                match all_down {
                    "empty" => has_no_data(&ask(&node, name, TYPE_A)?, 0)?,
                    _ => has_failed(&ask(&node, name, TYPE_A)?)?,
                }
            }
            match all_down {
                "empty" => has_no_data(&ask(&node, "alias.example.com", TYPE_A)?, 2)?,
                _ => has_failed(&ask(&node, "alias.example.com", TYPE_A)?)?,
            }
            // Everything else is as ever: other types, over the alias too, and other names.
            for name in [WWW, "alias.example.com", "x.wild.example.com"] {
                let text = ask(&node, name, TYPE_TXT)?;
                ensure!(text.rcode() == 0 && text.answer.iter().any(|it| it.rtype == TYPE_TXT), "{text}");
            }
            ensure!(ask(&node, "alias.example.com", TYPE_CNAME)?.answer.len() == 1);
            ensure!(node.ask("other.example.com", TYPE_A)?.addresses.len() == 1);
            ensure!(ask(&node, "nothing.example.com", TYPE_A)?.rcode() == 3);
            for any in [ask(&node, WWW, TYPE_ANY)?, ask_over_tcp(&node, WWW, TYPE_ANY)?] {
                let types: Vec<u16> = any.answer.iter().map(|record| record.rtype).collect();
                ensure!(any.rcode() == 0 && types == [TYPE_TXT], "{any}");
            }
            let any = ask(&node, "only.example.com", TYPE_ANY)?;
            match all_down {
                "empty" => has_no_data(&any, 0)?,
                _ => has_failed(&any)?,
            }
            let status = node.does(&["pools"])?;
            ensure!(status.contains(&format!("(all-down: {all_down}, since")), "{status}");
            // Who can't be told of the reason gets the code alone.
            let plain = node.message(WWW, TYPE_A, None)?;
            let rcode = if all_down == "empty" { 0 } else { SERVFAIL };
            ensure!(plain.rcode() == rcode && plain.opt.is_none(), "{plain}");
            endpoint = Some(Endpoint::start(first, port)?);
        }
    }
    Ok(())
}

#[test]
fn one_family_may_have_nothing_while_the_other_answers() -> Result<()> {
    for all_down in ["empty", "servfail"] {
        let ([first], port) = addresses()?;
        let _endpoint = Endpoint::start(first, port)?;
        // Nothing listens there.
        let six = "[[pool.endpoint]]\nname = \"six\"\naddress = \"::1\"\n";
        let lines = format!("all-down = \"{all_down}\"\n{}", http(port));
        let node = Node::running(&(pool("web", NAMES, &lines, &[(first, 1)]) + six))?;
        node.answers(WWW, &[first])?;
        for name in ANSWERING {
            node.answers(name, &[first])?;
            match all_down {
                "empty" => has_no_data(&ask(&node, name, TYPE_AAAA)?, 0)?,
                _ => has_failed(&ask(&node, name, TYPE_AAAA)?)?,
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_withheld_is_denied_with_proof_and_a_failure_is_not() -> Result<()> {
    for (algorithm, denial) in kinds().chain([(Algorithm::Ed25519, Denial::Nsec3OptOut)]) {
        let ([first], port) = addresses()?;
        let mut signed = Signed::new(algorithm, denial)?;
        let of = |name: &str, names: &str, all_down: &str| {
            pool(name, names, &format!("all-down = \"{all_down}\"\n{}", http(port)), &[(first, 1)])
        };
        // `both` has nothing but addresses, which are of both families.
        let pools = of("empty", "\"both.example.com\", \"*.wild.example.com\"", "empty")
            + &of("fails", "\"www.example.com\", \"six.example.com\"", "servfail");
        signed.configure("", &pools)?;
        signed.node.start()?;
        let context = format!("{algorithm:?} {denial}");
        signed.node.finds("empty", first, "down")?;
        let is_there =
            || ask(&signed.node, "both.example.com", TYPE_A).map(|it| it.answer.is_empty().then_some(()));
        tools::poll("nothing is told of it", SEEN_WITHIN, is_there)?;
        // With opt-out nobody can prove that a wildcard had to stand in (RFC 5155 §9.2).
        let wild = ["x.wild.example.com"].into_iter().filter(|_| denial != Denial::Nsec3OptOut);
        for name in wild.clone().chain(["both.example.com"]) {
            signed.validates(name, &[])?;
            signed.denies(name, "MX")?;
        }
        for name in wild.clone() {
            let text = signed.asks(name, "TXT")?;
            ensure!(text.contains("; fully validated"), "{context}: {text}");
        }
        for name in [WWW, "six.example.com", "alias.example.com"] {
            has_failed(&ask(&signed.node, name, TYPE_A)?)?;
        }
        signed.denies(WWW, "MX")?;
        signed.denies("six.example.com", "MX")?;
        // What can't be had is not denied by what is proved of others (RFC 8198 §5.1).
        if denial == Denial::Nsec {
            let proof = signed.asks(WWW, "NSEC")?;
            ensure!(proof.contains(" A TXT RRSIG NSEC"), "{context}: {proof}");
            let proof = signed.asks("both.example.com", "NSEC")?;
            ensure!(proof.contains(". RRSIG NSEC"), "{context}: {proof}");
        }
        // They come back.
        let _endpoint = Endpoint::start(first, port)?;
        for name in wild.chain(["both.example.com", WWW, "six.example.com"]) {
            signed.node.answers(name, &[first])?;
            signed.validates(name, &[first.into()])?;
        }
    }
    Ok(())
}
