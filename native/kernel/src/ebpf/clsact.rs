//! Programs by clsact: a filter each way, known by the handle that the kernel gave it, and marked by a pin of its program.
//! The filter outlives us, and the mark says to the next run which is ours.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::links::Link;
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcHandle};
use aya::programs::{SchedClassifier, TcAttachType};
use netlink_packet_core::{NLM_F_ACK, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcHandle as TcNumber, TcMessage};

use super::links::{Way, interface_name, repin};
use super::pins::{files_in, remove};
use super::sys;
use crate::errors::{KernelError, Result};
use crate::netlink::socket::{Netlink, number};

/// Before other filters on the interface.
const PRIORITY: u16 = 1;

/// A filter of this instance.
pub struct Mark {
    path: PathBuf,
    handle: TcHandle,
}

impl Mark {
    pub fn find(folder: &Path, ifindex: u32, way: Way) -> Result<Option<Self>> {
        let prefix = prefix_of(ifindex, way);
        Ok(files_in(folder)?.into_iter().find_map(|path| {
            let handle: u32 = path.file_name()?.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some(Self { path, handle: handle.into() })
        }))
    }

    fn new(folder: &Path, ifindex: u32, way: Way, handle: TcHandle) -> Self {
        let path = folder.join(format!("{}{}", prefix_of(ifindex, way), u32::from(handle)));
        Self { path, handle }
    }
}

/// In the place of `former`, when that one is still there.
pub fn attach(
    classifier: &mut SchedClassifier,
    folder: &Path,
    ifindex: u32,
    way: Way,
    former: Option<Mark>,
    what: &str,
) -> Result<()> {
    let name = interface_name(ifindex)?;
    let replaced = match &former {
        Some(mark) if stands(ifindex, way, mark)? => Some(replace(classifier, &name, way, mark.handle, what)?),
        _ => None,
    };
    let handle = match replaced {
        Some(handle) => handle,
        None => create(classifier, &name, way, what)?,
    };
    let mark = Mark::new(folder, ifindex, way, handle);
    let fd = classifier.fd().map_err(|error| KernelError::from_chain(what, &error))?;
    repin(fd.as_fd(), &mark.path)?;
    match former {
        Some(former) if former.path != mark.path => remove(&former.path),
        _ => Ok(()),
    }
}

/// By its handle: another instance may have a filter of the same name on the interface.
pub fn detach(ifindex: u32, way: Way, mark: &Mark) -> Result<()> {
    // An interface that is gone took its filters with it, and who took ours away may have put another in its place.
    if stands(ifindex, way, mark)? {
        let name = interface_name(ifindex)?;
        let what = format!("detach from {name}");
        link(&name, way, mark.handle, &what)?.detach().map_err(|error| KernelError::from_chain(what, &error))?;
    }
    remove(&mark.path)
}

/// Whether the filter is there, and the program that it runs is still the one that was pinned with it.
pub fn stands(ifindex: u32, way: Way, mark: &Mark) -> Result<bool> {
    let pinned = sys::open_pin(&mark.path).and_then(|program| sys::program_id(program.as_fd()));
    let pinned = pinned.map_err(|error| KernelError::from_io(mark.path.display().to_string(), &error))?;
    Ok(program_of(ifindex, way, mark.handle)? == Some(pinned))
}

/// The filter keeps its handle and its place in the chain.
fn replace(classifier: &mut SchedClassifier, name: &str, way: Way, handle: TcHandle, what: &str) -> Result<TcHandle> {
    let former = link(name, way, handle, what)?;
    let id = classifier.attach_to_link(former).map_err(|error| KernelError::from_chain(what, &error))?;
    let_go(classifier, id, what)
}

fn create(classifier: &mut SchedClassifier, name: &str, way: Way, what: &str) -> Result<TcHandle> {
    if let Err(error) = tc::qdisc_add_clsact(name) {
        let error = KernelError::from_chain(what, &error);
        if error.errno() != Some(libc::EEXIST) {
            return Err(error);
        }
    }
    let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, ..NlOptions::default() });
    let id = classifier.attach_with_options(name, hook(way), options);
    let id = id.map_err(|error| KernelError::from_chain(what, &error))?;
    let_go(classifier, id, what)
}

/// The filter outlives its link; forgetting that keeps a later drop from detaching in another namespace.
fn let_go(classifier: &mut SchedClassifier, id: SchedClassifierLinkId, what: &str) -> Result<TcHandle> {
    let link = classifier.take_link(id).map_err(|error| KernelError::from_chain(what, &error))?;
    let handle = link.handle().map_err(|error| KernelError::from_chain(what, &error));
    std::mem::forget(link);
    handle
}

fn link(name: &str, way: Way, handle: TcHandle, what: &str) -> Result<SchedClassifierLink> {
    SchedClassifierLink::attached(name, hook(way), PRIORITY, handle, None)
        .map_err(|error| KernelError::from_io(what, &error))
}

/// The number of the program that the filter runs; None where there is no such filter.
fn program_of(ifindex: u32, way: Way, handle: TcHandle) -> Result<Option<u32>> {
    let mut query = TcMessage::with_index(ifindex as i32);
    query.header.parent = TcNumber::from(parent(way));
    query.header.handle = TcNumber::from(u32::from(handle));
    query.header.info = u32::from(PRIORITY) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    let mut found = None;
    let mut socket = Netlink::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    let answer = socket.ask(RouteNetlinkMessage::GetTrafficFilter(query), NLM_F_ACK, |_, body| {
        found = program_in(body);
        Ok(())
    })?;
    match answer {
        Ok(_) => Ok(found),
        Err(refusal) if is_gone(refusal.errno) => Ok(None),
        Err(refusal) => Err(refusal.into_error(format!("look at the filter of interface {ifindex}"))),
    }
}

const TC_HEADER_BYTES: usize = 20;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_ID: u16 = 11;

fn program_in(body: &[u8]) -> Option<u32> {
    let options = attribute(body.get(TC_HEADER_BYTES..)?, TCA_OPTIONS)?;
    number(&attribute(&options, TCA_BPF_ID)?, 0)
}

fn attribute(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let found = NlasIterator::new(attributes).flatten().find(|nla| nla.kind() == kind)?;
    Some(found.value().to_vec())
}

/// What the kernel says of a filter, a chain, a qdisc or an interface that is not there.
const fn is_gone(errno: i32) -> bool {
    matches!(errno, libc::ENOENT | libc::EINVAL | libc::ENODEV)
}

fn hook(way: Way) -> TcAttachType {
    match way {
        Way::In => TcAttachType::Ingress,
        Way::Out => TcAttachType::Egress,
    }
}

/// linux/pkt_sched.h: TC_H_CLSACT with TC_H_MIN_INGRESS or TC_H_MIN_EGRESS.
const fn parent(way: Way) -> u32 {
    match way {
        Way::In => 0xffff_fff2,
        Way::Out => 0xffff_fff3,
    }
}

fn prefix_of(ifindex: u32, way: Way) -> String {
    format!("{ifindex}-{}-clsact-", way.word())
}
