//! The lease's interface, addresses and routes as requests to the kernel.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netio::Tun;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::io::Errno;

use super::error::LeaseError;
use super::messages::{self, Assigned, ROUTE_PROTOCOL, Route};
use super::netlink::{Netlink, is};
use super::plan::LeasePlan;
use super::view::{KernelView, Link};
use crate::{Family, Routes, Rung};

/// An interface that this process holds, and its number.
#[derive(Debug)]
struct Holding {
    tun: Tun,
    index: u32,
}

/// What the kernel is asked to do for a lease. It remembers nothing but what it holds: what there is, is read back.
#[derive(Debug)]
pub struct KernelRoutes {
    plan: LeasePlan,
    netlink: Netlink,
    holding: Option<Holding>,
}

impl KernelRoutes {
    /// Makes the interface with the addresses, and removes what an earlier holder left in the table. No routes yet.
    ///
    /// # Errors
    /// The interface can't be had, or the kernel refuses something; the interface is gone again then.
    pub fn take(plan: LeasePlan) -> Result<KernelRoutes, LeaseError> {
        let netlink = Netlink::open().map_err(LeaseError::Socket)?;
        let mut kernel = KernelRoutes { plan, netlink, holding: None };
        kernel.make_anew()?;
        Ok(kernel)
    }

    /// Takes the interface over from the process before. What is there and right stays untouched, routes included;
    /// what is missing of interface and addresses is added, and what doesn't belong there removed.
    ///
    /// # Errors
    /// The descriptor holds another interface, or the kernel refuses something. The descriptor is closed then, and the
    /// route goes unless somebody else holds it too.
    pub fn adopt(plan: LeasePlan, fd: OwnedFd) -> Result<KernelRoutes, LeaseError> {
        let tun = Tun::adopt(fd).map_err(LeaseError::Interface)?;
        if tun.name() != plan.interface() {
            let found = tun.name().to_owned();
            return Err(LeaseError::OtherInterface { found, wanted: plan.interface().to_owned() });
        }
        let netlink = Netlink::open().map_err(LeaseError::Socket)?;
        let mut kernel = KernelRoutes { plan, netlink, holding: None };
        kernel.hold(tun)?;
        kernel.settle_interface()?;
        kernel.remove_strays()?;
        Ok(kernel)
    }

    /// The plan it was taken by.
    pub fn plan(&self) -> &LeasePlan {
        &self.plan
    }

    /// The descriptor to hand over; none after the lease was let go.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.holding.as_ref().map(|holding| holding.tun.as_fd())
    }

    /// What the kernel has of interface, addresses and table.
    ///
    /// # Errors
    /// The kernel refuses an answer.
    pub fn view(&mut self) -> Result<KernelView, LeaseError> {
        let mut view = KernelView::nothing(&self.plan);
        let index = self.holding.as_ref().map(|holding| holding.index);
        let link = match index {
            Some(index) => self.link(messages::ask_link(index))?,
            None => None,
        };
        if let Some((index, up)) = link {
            view.link = if up { Link::Up } else { Link::Down };
            let assigned = self.assigned(index)?;
            view.missing_addresses.retain(|address| !assigned.contains(&Assigned::service(*address)));
        }
        for route in self.routes()? {
            let ours = route.protocol == ROUTE_PROTOCOL && route.interface_index == index;
            match view.rungs.get_mut(&route.prefix) {
                Some(rungs) if ours && Rung::of_metric(route.metric).is_some() => {
                    rungs.extend(Rung::of_metric(route.metric));
                }
                _ => view.strays.push(describe(&route)),
            }
        }
        Ok(view)
    }

    /// Puts the interface up and the addresses on it again, or makes it anew, and removes routes of our protocol that no rung stands
    /// for. The rungs' routes are not touched.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn settle(&mut self) -> Result<(), LeaseError> {
        if let Some(index) = self.holding.as_ref().map(|holding| holding.index)
            && self.link(messages::ask_link(index))?.is_some()
        {
            self.settle_interface()?;
            return self.remove_strays();
        }
        // Let go, or somebody has deleted it: the descriptor holds nothing any more.
        self.holding = None;
        self.make_anew()
    }

    fn make_anew(&mut self) -> Result<(), LeaseError> {
        let tun = Tun::create(self.plan.interface()).map_err(LeaseError::Interface)?;
        self.hold(tun)?;
        let made = self.settle_interface().and_then(|()| self.remove_strays());
        if made.is_err() {
            self.holding = None;
        }
        made
    }

    fn hold(&mut self, tun: Tun) -> Result<(), LeaseError> {
        let (index, _) = self.link(messages::ask_link_named(tun.name()))?.ok_or_else(|| {
            let gone = io::Error::new(io::ErrorKind::NotFound, "it is not in this network namespace");
            LeaseError::Kernel { action: "find the interface", object: tun.name().to_owned(), source: gone }
        })?;
        self.holding = Some(Holding { tun, index });
        Ok(())
    }

    /// The number of an interface, and whether it is up.
    fn link(&mut self, question: RouteNetlinkMessage) -> Result<Option<(u32, bool)>, LeaseError> {
        match self.netlink.request(question, 0) {
            Ok(answer) => Ok(answer.iter().find_map(messages::read_link)),
            Err(error) if is(&error, Errno::NODEV) => Ok(None),
            Err(error) => Err(refused("read the interface", self.plan.interface())(error)),
        }
    }

    /// Interface up and quiet, the addresses on it and no others.
    fn settle_interface(&mut self) -> Result<(), LeaseError> {
        let index = self.index()?;
        let name = self.plan.interface().to_owned();
        self.netlink
            .request(messages::shorten_queue(index), 0)
            .map_err(refused("shorten the queue of", &name))?;
        match self.netlink.request(messages::no_link_local(index), 0) {
            // A kernel without IPv6.
            Err(error) if is(&error, Errno::AFNOSUPPORT) || is(&error, Errno::OPNOTSUPP) => {}
            result => drop(result.map_err(refused("turn off link-local addresses of", &name))?),
        }
        // Before it is up, so that the addresses are usable from the first moment on which there can be routes.
        self.settle_addresses(index)?;
        self.netlink.request(messages::set_up(index), 0).map_err(refused("set up the interface", &name))?;
        Ok(())
    }

    fn settle_addresses(&mut self, index: u32) -> Result<(), LeaseError> {
        let wanted: BTreeSet<Assigned> =
            self.plan.addresses().iter().map(|address| Assigned::service(*address)).collect();
        let there: BTreeSet<Assigned> = self.assigned(index)?.into_iter().collect();
        for missing in wanted.difference(&there) {
            let message = RouteNetlinkMessage::NewAddress(missing.message(index));
            match self.netlink.request(message, NLM_F_CREATE | NLM_F_EXCL) {
                Err(error) if is(&error, Errno::EXIST) => {}
                result => drop(result.map_err(refused("add the address", missing.address))?),
            }
        }
        for surplus in there.difference(&wanted) {
            let message = RouteNetlinkMessage::DelAddress(surplus.message(index));
            match self.netlink.request(message, 0) {
                Err(error) if is(&error, Errno::ADDRNOTAVAIL) => {}
                result => drop(result.map_err(refused("remove the address", surplus.address))?),
            }
        }
        Ok(())
    }

    fn assigned(&mut self, index: u32) -> Result<Vec<Assigned>, LeaseError> {
        let found = self.netlink.dump(&messages::ask_addresses(index));
        let found = found.map_err(refused("read the addresses of", self.plan.interface()))?;
        Ok(found.iter().filter_map(|message| Assigned::read(message, index)).collect())
    }

    /// Removes routes of our protocol that are none of the plan's: an earlier run's, or with a metric of no rung.
    fn remove_strays(&mut self) -> Result<(), LeaseError> {
        let index = self.index()?;
        for route in self.routes()? {
            let wanted = route.interface_index == Some(index)
                && self.plan.prefixes().contains(&route.prefix)
                && Rung::of_metric(route.metric).is_some();
            if route.protocol == ROUTE_PROTOCOL && !wanted {
                self.remove_route(&route)?;
            }
        }
        Ok(())
    }

    /// All routes in the table, whoever's.
    fn routes(&mut self) -> Result<Vec<Route>, LeaseError> {
        let table = self.plan.table();
        let mut routes = Vec::new();
        for family in Family::ALL {
            match self.netlink.dump(&messages::ask_routes(family, table)) {
                Ok(found) => {
                    routes.extend(found.iter().filter_map(|message| Route::read(message, table)));
                }
                // A kernel without IPv6.
                Err(error) if is(&error, Errno::OPNOTSUPP) || is(&error, Errno::AFNOSUPPORT) => {}
                Err(error) => return Err(refused("read table", table)(error)),
            }
        }
        Ok(routes)
    }

    /// Whether it was added, or there already.
    fn add_route(&mut self, route: &Route) -> Result<Added, LeaseError> {
        let message = RouteNetlinkMessage::NewRoute(route.message(self.plan.table()));
        match self.netlink.request(message, NLM_F_CREATE | NLM_F_EXCL) {
            Ok(_) => Ok(Added::Now),
            // The kernel keeps one route for prefix and metric, whoever made it.
            Err(error) if is(&error, Errno::EXIST) => {
                let same = |there: &Route| there.prefix == route.prefix && there.metric == route.metric;
                match self.routes()?.into_iter().find(same) {
                    Some(there) if there != *route => Err(LeaseError::Occupied {
                        prefix: route.prefix.to_string(),
                        metric: route.metric,
                        table: self.plan.table(),
                        protocol: there.protocol,
                    }),
                    Some(_) => Ok(Added::Before),
                    // It went between the two requests; the caller's next try finds room.
                    None => Err(refused("add the route", describe(route))(error)),
                }
            }
            Err(error) => Err(refused("add the route", describe(route))(error)),
        }
    }

    fn remove_route(&mut self, route: &Route) -> Result<(), LeaseError> {
        let message = RouteNetlinkMessage::DelRoute(route.message(self.plan.table()));
        match self.netlink.request(message, 0) {
            // ENOENT where the table has never had a route of the family.
            Err(error) if is(&error, Errno::SRCH) || is(&error, Errno::NOENT) => Ok(()),
            result => result.map(drop).map_err(refused("remove the route", describe(route))),
        }
    }

    fn index(&self) -> Result<u32, LeaseError> {
        self.holding.as_ref().map(|holding| holding.index).ok_or(LeaseError::LetGo)
    }

    /// The routes of a rung; none for [`Rung::Down`].
    fn routes_of(&self, family: Family, rung: Rung, index: u32) -> Vec<Route> {
        let routes = rung.metric().map(|metric| {
            self.plan.prefixes_of(family).map(move |prefix| Route::ours(prefix, metric, index))
        });
        routes.into_iter().flatten().collect()
    }
}

impl Routes for KernelRoutes {
    type Error = LeaseError;

    fn add(&mut self, family: Family, rung: Rung) -> Result<(), LeaseError> {
        if self.holding.is_none() {
            self.make_anew()?;
        }
        let routes = self.routes_of(family, rung, self.index()?);
        let mut added: Vec<&Route> = Vec::new();
        for route in &routes {
            match self.add_route(route) {
                Ok(Added::Now) => added.push(route),
                Ok(Added::Before) => {}
                Err(error) => {
                    // All or none. What can't be taken back shows in the next view, and the first error tells more.
                    for route in added {
                        let _ = self.remove_route(route);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Goes on after a failure, so that as much goes as can; the next call takes away the rest.
    fn remove(&mut self, family: Family, rung: Rung) -> Result<(), LeaseError> {
        // Without the interface there are no routes through it.
        let Some(index) = self.holding.as_ref().map(|holding| holding.index) else { return Ok(()) };
        let mut result = Ok(());
        for route in self.routes_of(family, rung, index) {
            result = result.and(self.remove_route(&route));
        }
        result
    }

    fn let_go(&mut self) {
        self.holding = None;
    }
}

/// What came of adding a route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Added {
    Now,
    Before,
}

fn refused(action: &'static str, object: impl ToString) -> impl FnOnce(io::Error) -> LeaseError {
    let object = object.to_string();
    move |source| LeaseError::Kernel { action, object, source }
}

fn describe(route: &Route) -> String {
    format!("{} metric {} of protocol {}", route.prefix, route.metric, route.protocol)
}
