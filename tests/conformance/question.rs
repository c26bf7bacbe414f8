//! Queries from text: in words, or octet by octet.

use nameserver::Transport;
use wire::{Name, NameBuf, RecordType};

/// Where no `size=` is given.
const SIZE_USUAL: u16 = 1232;

/// A query, and what of it the response is checked against.
pub(crate) struct Question {
    /// The message.
    pub(crate) bytes: Vec<u8>,
    /// How it comes.
    pub(crate) transport: Transport,
    /// Written in octets, so that nothing below is known of it.
    pub(crate) is_raw: bool,
    /// The payload size in its OPT record; `None` where it has none.
    pub(crate) udp_size: Option<u16>,
    /// The DO bit.
    pub(crate) dnssec: bool,
    /// The class asked for.
    pub(crate) class: u16,
    /// How many records come first when it is asked again and again.
    pub(crate) turns: Option<usize>,
}

impl Question {
    /// Reads a `query` or `raw` line.
    pub(crate) fn read(line: &str) -> Question {
        let words: Vec<&str> = line.split_whitespace().collect();
        let transport = if words.contains(&"tcp") { Transport::Tcp } else { Transport::Udp };
        match words[..] {
            ["raw", ..] => Question {
                bytes: octets(line.trim_start_matches("raw ").trim_start_matches("tcp ")),
                transport,
                is_raw: true,
                // Not known here, and a message of 512 octets is allowed to all.
                udp_size: None,
                dnssec: false,
                class: 1,
                turns: None,
            },
            ["query", qname, qtype, ..] => Question { transport, ..in_words(qname, qtype, &words[3..]) },
            _ => panic!("no query: {line}"),
        }
    }
}

fn in_words(qname: &str, qtype: &str, options: &[&str]) -> Question {
    let value = |key: &str| options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key).map(|value| value.parse::<u16>().unwrap());
    let hex = |key: &str| value(key).map_or(0, |value| u16::from_str_radix(value, 16).unwrap());
    let name = NameBuf::from_text(qname.as_bytes(), Some(Name::ROOT)).unwrap();
    let rtype = RecordType::from_text(qtype.as_bytes()).unwrap();
    let class = match value("class") {
        None | Some("IN") => 1,
        Some("CH") => 3,
        Some(number) => number.parse().unwrap(),
    };
    let udp_size = Some(number("size").unwrap_or(SIZE_USUAL)).filter(|size| *size > 0);
    let dnssec = options.contains(&"dnssec");
    let flags = number("opcode").unwrap_or(0) << 11 | hex("flags");
    let mut bytes = vec![0x12, 0x34];
    bytes.extend([flags, 1, 0, 0, u16::from(udp_size.is_some())].map(u16::to_be_bytes).as_flattened());
    bytes.extend_from_slice(name.as_name().as_wire());
    bytes.extend([rtype.0, class].map(u16::to_be_bytes).as_flattened());
    if let Some(size) = udp_size {
        let opt_flags = hex("eflags") | if dnssec { 0x8000 } else { 0 };
        let rdata = options.iter().filter_map(|option| option.strip_prefix("option=")).flat_map(edns_option);
        let rdata: Vec<u8> = rdata.collect();
        bytes.push(0);
        let version = number("edns").unwrap_or(0);
        let fixed = [RecordType::OPT.0, size, version, opt_flags, rdata.len() as u16];
        bytes.extend(fixed.map(u16::to_be_bytes).as_flattened());
        bytes.extend(rdata);
    }
    Question {
        bytes,
        transport: Transport::Udp,
        is_raw: false,
        udp_size,
        dnssec,
        class,
        turns: number("turns").map(usize::from),
    }
}

/// An EDNS option from `CODE:HEX`.
fn edns_option(text: &str) -> Vec<u8> {
    let (code, data) = text.split_once(':').unwrap();
    let data = octets(data);
    let mut option = code.parse::<u16>().unwrap().to_be_bytes().to_vec();
    option.extend((data.len() as u16).to_be_bytes());
    option.extend(data);
    option
}

/// Octets from pairs of hexadecimal digits, `"text"`, and `N*` before either for a repetition.
fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for word in text.split_whitespace() {
        let (count, word) =
            word.split_once('*').map_or((1, word), |(count, word)| (count.parse().unwrap(), word));
        let part: Vec<u8> = match word.strip_prefix('"') {
            Some(quoted) => quoted.trim_end_matches('"').bytes().collect(),
            None => {
                assert!(word.len() % 2 == 0, "half an octet: {word}");
                (0..word.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap())
                    .collect()
            }
        };
        (0..count).for_each(|_| octets.extend_from_slice(&part));
    }
    octets
}
