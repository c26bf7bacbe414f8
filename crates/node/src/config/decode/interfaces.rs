//! The sections about network interfaces.

use super::super::problem::Problem;
use super::super::{INTERFACES_MAX, InterfaceConfig, PacketPath};
use super::{Placed, Section, Value, wrong_type};
use netio::xdp::{Mode, Reply};
use std::net::SocketAddr;

/// Octets of the longest name of an interface (`IFNAMSIZ`, without the closing zero).
const NAME_MAX_LEN: usize = 15;

/// Decodes all `[[interface]]`; `service` is where queries are taken.
pub(super) fn interfaces(
    value: &Value<'_>,
    service: &[SocketAddr],
    problems: &mut Vec<Problem>,
) -> Vec<InterfaceConfig> {
    let Some(items) = value.get_ref().as_array() else {
        let help = "interfaces are written as [[interface]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "interface", "a list", help));
        return Vec::new();
    };
    if items.len() > INTERFACES_MAX {
        let title = format!("{} interfaces are more than the {INTERFACES_MAX} there may be", items.len());
        problems.push(Problem::at(value.span(), title, "this list", "name those that queries come through"));
        return Vec::new();
    }
    let mut interfaces: Vec<InterfaceConfig> = Vec::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[interface]]", problems) else { continue };
        let Some((interface, place)) = interface(section, service, problems) else { continue };
        if interfaces.iter().any(|known| known.name == interface.name) {
            let title = format!("the interface {} is configured twice", interface.name);
            problems.push(Problem::at(place, title, "again here", "remove one of the two [[interface]]"));
        } else {
            interfaces.push(interface);
        }
    }
    interfaces
}

fn interface(
    mut section: Section<'_, '_>,
    service: &[SocketAddr],
    problems: &mut Vec<Problem>,
) -> Option<Placed<InterfaceConfig>> {
    let name = section.required("name", "name = \"eth0\"", problems).and_then(|(text, place)| {
        let is_good =
            !text.is_empty() && text.len() <= NAME_MAX_LEN && !text.contains(['/', ':', ' ', '\t', '\n']);
        if is_good {
            return Some((text.to_owned(), place));
        }
        let title = format!("`{text}` is not the name of an interface");
        problems.push(Problem::at(place, title, "this name", "`ip link` shows their names"));
        None
    });
    let paths = [("sockets", PacketPath::Sockets), ("xdp", PacketPath::Xdp)];
    let path_place = section.place_of("packet-path");
    let packet_path = section.choice("packet-path", "packet path", &paths, problems).unwrap_or_default();
    if packet_path == PacketPath::Xdp
        && let Some(wildcard) = service.iter().find(|address| address.ip().is_unspecified())
    {
        let title =
            format!("with AF_XDP the service addresses have to be known, and {wildcard} stands for any");
        let help = "under [node], `listen` on each service address by itself";
        problems.push(Problem::at(path_place.unwrap_or(section.place()), title, "this", help));
    }
    let replies = [("reflect", Reply::Reflect), ("route", Reply::Route)];
    let reply = section.choice("reply", "way for replies", &replies, problems).unwrap_or_default();
    let modes = [
        ("auto", None),
        ("zero-copy", Some(Mode::ZeroCopy)),
        ("native", Some(Mode::Native)),
        ("generic", Some(Mode::Generic)),
    ];
    let mode = section.choice("mode", "mode of AF_XDP", &modes, problems).flatten();
    let answers_place = section.place_of("kernel-answers");
    let kernel_answers = section.flag("kernel-answers", problems).unwrap_or_default();
    if kernel_answers && (packet_path != PacketPath::Xdp || reply != Reply::Reflect) {
        let title = "the kernel answers by itself only where replies are queries turned round";
        let help = "`packet-path = \"xdp\"` with `reply = \"reflect\"`, or without `kernel-answers`";
        problems.push(Problem::at(answers_place.unwrap_or(section.place()), title, "this", help));
    }
    section.finish(problems);
    let (name, place) = name?;
    Some((InterfaceConfig { name, packet_path, reply, mode, kernel_answers }, place))
}
