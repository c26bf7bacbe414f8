//! Any octets as what an endpoint of a pool, or its agent, says.

use health::said::echo::{COOKIE_LEN, reply, request, without_header};
use health::said::{Agent, LINE_LEN_MAX, PERCENT_MAX, after, decimal, grpc, line, shown};

/// The most characters of a sentence that has something of it.
const SENTENCE_MAX: usize = 300;

/// Takes it for everything that somebody may say.
pub(crate) fn run(octets: &[u8]) {
    lines(octets);
    number(octets);
    status(octets);
    echo(octets);
    is_fit(&shown(&String::from_utf8_lossy(octets)));
}

/// That a text can be shown: in one line, and short.
fn is_fit(text: &str) {
    assert!(!text.contains(char::is_control) && text.chars().count() <= SENTENCE_MAX, "{text:?}");
}

/// The lines of an agent, one after the other.
fn lines(octets: &[u8]) {
    let mut agent = Agent::silent();
    let mut rest = octets;
    while !rest.is_empty() {
        let said = match line(rest) {
            Some(said) => {
                assert!(said.len() <= LINE_LEN_MAX && rest.starts_with(said));
                // It was whole with the octet after it, or as long as one may be, and not before.
                let (with_end, without) = (&rest[..rest.len().min(said.len() + 1)], &rest[..said.len()]);
                assert_eq!(line(with_end), Some(said));
                assert_eq!(line(without).is_some(), said.len() == LINE_LEN_MAX);
                said
            }
            None => rest,
        };
        hear(&mut agent, said);
        rest = rest.get(said.len() + 1..).unwrap_or_default();
    }
}

/// What counts of an agent.
fn standing(agent: &Agent) -> (u32, bool, bool) {
    (agent.percent(), agent.is_drained(), agent.trouble().is_some())
}

fn hear(agent: &mut Agent, said: &[u8]) {
    let before = agent.clone();
    let heard = agent.hear(said);
    assert!(agent.percent() <= PERCENT_MAX);
    is_fit(&agent.trouble().unwrap_or_default());
    if let Err(unclear) = &heard {
        assert_eq!(
            agent.percent(),
            before.percent(),
            "what can't be understood shows nothing of what is left"
        );
        // In quotes, each character may be several.
        assert!(!unclear.to_string().contains(char::is_control));
    }
    let is_clear = heard.is_ok();
    let mut again = agent.clone();
    assert_eq!(again.hear(said).is_ok(), is_clear, "it means the same twice");
    assert_eq!(again, *agent);
    // In capitals, with other spaces, and behind a word that has no meaning.
    let words = said.iter().position(|octet| *octet == b'#').unwrap_or(said.len());
    let other = |octet: &u8| if matches!(octet, b'\t' | b',') { b' ' } else { octet.to_ascii_uppercase() };
    let spaced: Vec<u8> = said[..words].iter().map(other).chain(said[words..].iter().copied()).collect();
    for same in [spaced, [b"hello,", said].concat()] {
        let mut agent_of_same = before.clone();
        assert_eq!(agent_of_same.hear(&same).is_ok(), is_clear);
        assert_eq!(standing(&agent_of_same), standing(agent), "{same:?}");
    }
}

/// A number at the beginning of a page, or after a text.
fn number(octets: &[u8]) {
    if let Some(number) = decimal(octets) {
        assert!(!number.is_nan());
        assert_eq!(decimal(&[b"\r\n ", octets].concat()), Some(number), "white space is left out");
    }
    if let Some(rest) = after(octets, "load") {
        let before = &octets[..octets.len() - rest.len()];
        assert!(before.ends_with(b"load") && octets.ends_with(rest));
    }
    assert_eq!(after(octets, ""), Some(octets));
}

/// A message with the right length in front.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// An answer of the health protocol, and the same with a right length.
fn status(octets: &[u8]) {
    for octets in [octets.to_vec(), framed(octets)] {
        let Some(status) = grpc::status(&octets) else { continue };
        let message = &octets[5..];
        assert_eq!(grpc::status(&framed(message)), Some(status));
        let with_another = [message, &[1 << 3, 2]].concat();
        assert_eq!(grpc::status(&framed(&with_another)), Some(2), "the last one counts");
    }
    // A question has no status in it, but a name where that would be.
    assert_eq!(grpc::status(&grpc::question(&String::from_utf8_lossy(octets))), Some(0));
}

/// A packet, a message without its header, and a reply with what comes first as its cookie.
fn echo(octets: &[u8]) {
    if let Some(message) = without_header(octets) {
        assert!(octets.ends_with(message));
    }
    for (is_ipv4, of_reply) in [(true, 0), (false, 129)] {
        if let Some(cookie) = reply(is_ipv4, octets) {
            assert!(octets[0] == of_reply && octets.ends_with(&cookie));
        }
        let mut cookie = [0; COOKIE_LEN];
        cookie.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        let mut message = request(is_ipv4, 7, cookie);
        assert_eq!(reply(is_ipv4, &message), None, "a request is no reply");
        message[0] = of_reply;
        assert_eq!(reply(is_ipv4, &message), Some(cookie));
    }
}
