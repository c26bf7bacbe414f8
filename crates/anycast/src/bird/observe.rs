//! What BIRD says of the sessions and of the prefixes exported over them.

use ipnet::IpNet;

use super::client::{Conversation, within};
use super::reply::Reply;
use super::{Bird, BirdError, ProtocolName};
use crate::Family;
use crate::lease::family_of;

/// How long an observation may take, in limits of one answer.
const OBSERVATION_LIMITS: u32 = 2;
/// A row of `show protocols`.
const PROTOCOL_ROW: u16 = 1002;
/// The heading of a table's routes.
const ROUTES: u16 = 1007;
/// Attributes of a route; in BIRD 3 as well.
const ATTRIBUTES: u16 = 1012;
/// There is no such route.
const NO_ROUTE: u16 = 8001;
/// No protocol matches.
const NO_PROTOCOL: u16 = 8003;
/// Not allowed on this socket.
const ACCESS_DENIED: u16 = 8007;
/// Refused by the parser; of a question about routes that is otherwise right, that the protocol carries no table of the
/// prefix's family.
const PARSER: u16 = 9001;
/// GRACEFUL_SHUTDOWN (RFC 8326 §3) as BIRD writes it.
const GRACEFUL_SHUTDOWN: &str = "(65535,0)";
/// What BIRD and everybody else prefers where nothing is said.
const LOCAL_PREFERENCE_DEFAULT: u32 = 100;

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The BGP protocols whose session and exports matter.
    pub protocols: Vec<ProtocolName>,
    /// The prefixes that have to be exported.
    pub prefixes: Vec<IpNet>,
}

/// What BIRD said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Each protocol that was asked about.
    pub sessions: Vec<Session>,
}

/// A BGP protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its name.
    pub protocol: ProtocolName,
    /// Whether the session is up.
    pub state: SessionState,
    /// Each prefix that was asked about; none where the session is not established.
    pub exports: Vec<(IpNet, Export)>,
}

/// The state of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// Up: what is exported is announced.
    Established,
    /// Not up; state and reason in BIRD's words.
    Other(String),
    /// BIRD's configuration has no protocol of the name.
    NoProtocol,
}

/// What became of a prefix on a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Export {
    /// The session doesn't carry the prefix's family.
    OtherFamily,
    /// Not announced.
    Absent,
    /// Announced so.
    Announced(Attributes),
}

/// Attributes of an announced route.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Attributes {
    /// The metric of the kernel's route that BIRD took; none for a route of another origin.
    pub kernel_metric: Option<u32>,
    /// Whether GRACEFUL_SHUTDOWN is on it.
    pub graceful_shutdown: bool,
    /// AS numbers in the path before BIRD puts its own in front; a route of our own has none unless prepended.
    pub path_len: usize,
    /// LOCAL_PREF, which matters on sessions within one AS.
    pub local_preference: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
}

impl Attributes {
    /// Whether it is announced so that routes from elsewhere are preferred.
    pub fn is_demoted(&self) -> bool {
        self.path_len > 0
            || self.local_preference.is_some_and(|preference| preference < LOCAL_PREFERENCE_DEFAULT)
            || self.med.is_some_and(|med| med > 0)
    }
}

impl Observation {
    /// Whether any session carries a family.
    pub(super) fn carries(&self, family: Family) -> bool {
        self.sessions
            .iter()
            .flat_map(|session| &session.exports)
            .any(|(prefix, export)| family_of(&prefix.addr()) == family && *export != Export::OtherFamily)
    }
}

impl Bird {
    /// Asks about sessions and exports, over a new connection.
    ///
    /// A question a session and two a prefix, each answered from an index or in one step: 0.9 ms for two
    /// sessions and two prefixes (BIRD 2.0.12, two cores).
    ///
    /// # Errors
    /// BIRD can't be reached or understood within the limit.
    pub async fn observe(&self, watch: &Watch) -> Result<Observation, BirdError> {
        // A BIRD that is slow with each answer is not to hold up the next observation for long.
        within(self.limit() * OBSERVATION_LIMITS, "all questions", self.ask_all(watch)).await?
    }

    async fn ask_all(&self, watch: &Watch) -> Result<Observation, BirdError> {
        let mut conversation = self.connect().await?;
        let mut sessions = Vec::new();
        for protocol in &watch.protocols {
            let state = session_state(&mut conversation, protocol).await?;
            let mut exports = Vec::new();
            if state == SessionState::Established {
                for prefix in &watch.prefixes {
                    exports.push((*prefix, export(&mut conversation, protocol, prefix).await?));
                }
            }
            sessions.push(Session { protocol: protocol.clone(), state, exports });
        }
        Ok(Observation { sessions })
    }
}

async fn session_state(
    conversation: &mut Conversation,
    protocol: &ProtocolName,
) -> Result<SessionState, BirdError> {
    let Some(row) = row(conversation, protocol).await? else { return Ok(SessionState::NoProtocol) };
    // The word stands in the last column, and behind `up` only.
    let established = row.state == "up" && row.words.split_whitespace().any(|word| word == "Established");
    Ok(if established { SessionState::Established } else { SessionState::Other(row.words) })
}

/// The state of a protocol and all that follows it.
pub(super) struct Row {
    pub(super) state: String,
    /// State, time and what the protocol itself says.
    words: String,
}

/// A protocol's row; none where there is no such protocol.
pub(super) async fn row(
    conversation: &mut Conversation,
    protocol: &ProtocolName,
) -> Result<Option<Row>, BirdError> {
    let command = format!("show protocols {}", protocol.pattern());
    let reply = conversation.ask(&command).await?;
    if reply.has(NO_PROTOCOL) {
        return Ok(None);
    }
    refuse(&command, protocol, &reply)?;
    let row = reply.of(PROTOCOL_ROW).find_map(|line| {
        // name, protocol, table, state, since, what it says
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let rest: Vec<&str> = words.skip(2).collect();
        let state = (*rest.first()?).to_owned();
        (name == protocol.as_str()).then(|| Row { state, words: rest.join(" ") })
    });
    row.map(Some).ok_or(BirdError::Unreadable("a protocol has no row"))
}

async fn export(
    conversation: &mut Conversation,
    protocol: &ProtocolName,
    prefix: &IpNet,
) -> Result<Export, BirdError> {
    // What is really announced, whatever the filters of a later configuration would say.
    let command = format!("show route {prefix} exported {} all", protocol.symbol());
    let announced = conversation.ask(&command).await?;
    if announced.has(PARSER) {
        return Ok(Export::OtherFamily);
    }
    if announced.has(NO_ROUTE) || !announced.has(ROUTES) {
        return refuse_unless(NO_ROUTE, &command, protocol, &announced).map(|()| Export::Absent);
    }
    refuse(&command, protocol, &announced)?;
    // And what the filter makes of it: the first answer has the attributes from before the filter.
    let command = format!("show route {prefix} export {} all", protocol.symbol());
    let filtered = conversation.ask(&command).await?;
    if filtered.has(NO_ROUTE) || !filtered.has(ROUTES) {
        return refuse_unless(NO_ROUTE, &command, protocol, &filtered).map(|()| Export::Absent);
    }
    refuse(&command, protocol, &filtered)?;
    Ok(Export::Announced(attributes(&filtered)))
}

/// Reads the attributes under the names of BIRD 2 and of BIRD 3.
fn attributes(reply: &Reply) -> Attributes {
    let mut found = Attributes::default();
    for line in reply.of(ATTRIBUTES) {
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        let value = value.trim();
        match name {
            "Kernel.metric" | "krt_metric" => found.kernel_metric = value.parse().ok(),
            "BGP.community" | "bgp_community" => {
                found.graceful_shutdown = value.split_whitespace().any(|word| word == GRACEFUL_SHUTDOWN);
            }
            "BGP.as_path" | "bgp_path" => found.path_len = value.split_whitespace().count(),
            "BGP.local_pref" | "bgp_local_pref" => found.local_preference = value.parse().ok(),
            "BGP.med" | "bgp_med" => found.med = value.parse().ok(),
            _ => {}
        }
    }
    found
}

/// The error that a reply tells of, if any.
pub(super) fn refuse(command: &str, protocol: &ProtocolName, reply: &Reply) -> Result<(), BirdError> {
    let Some(line) = reply.error() else { return Ok(()) };
    Err(match line.code {
        NO_PROTOCOL => BirdError::NoProtocol(protocol.clone()),
        ACCESS_DENIED => BirdError::Restricted { command: command.to_owned() },
        code => BirdError::Refused { command: command.to_owned(), code, text: line.text.clone() },
    })
}

fn refuse_unless(code: u16, command: &str, protocol: &ProtocolName, reply: &Reply) -> Result<(), BirdError> {
    if reply.has(code) { Ok(()) } else { refuse(command, protocol, reply) }
}

#[cfg(test)]
mod tests {
    use super::super::reply::ReplyReader;
    use super::*;

    fn read(text: &str) -> Attributes {
        attributes(&ReplyReader::default().feed(text.as_bytes()).unwrap().unwrap())
    }

    #[test]
    fn attributes_of_bird_2() {
        let found = read(
            "1007-Table starling4:\n 203.0.113.0/24       unicast [starling_v4 12:00:00.000] * (10)\n \tdev s0\n1008-\tType: inherit univ\n1012-\tBGP.as_path: 65001 65001\n \tBGP.community: (65000,1) (65535,0)\n \tKernel.source: 153\n \tKernel.metric: 300\n0000 \n",
        );
        let wanted = Attributes {
            kernel_metric: Some(300),
            graceful_shutdown: true,
            path_len: 2,
            local_preference: None,
            med: None,
        };
        assert_eq!(found, wanted);
    }

    #[test]
    fn attributes_of_bird_3() {
        let found = read("1007-Table t:\n1012-\tbgp_local_pref: 50\n \tkrt_metric: 200\n0000 \n");
        assert_eq!(found.kernel_metric, Some(200));
        assert!(found.is_demoted());
        assert!(!read("1012-\tBGP.as_path: \n \tBGP.local_pref: 100\n0000 \n").is_demoted());
    }
}
