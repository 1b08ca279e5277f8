//! Programs on interfaces: first in the tcx chain, held by pinned links so that they outlive this process; on kernels
//! before 6.6 by clsact. Both replace a program by another in one step: a filter that stands is never taken away for the
//! next one.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::SchedClassifier;

use super::clsact::{self, Mark};
use super::pins::{files_in, remove};
use super::{loader, sys};
use crate::errors::{KernelError, Result};

#[derive(Clone, Copy)]
pub enum Way {
    In,
    Out,
}

impl Way {
    pub fn word(self) -> &'static str {
        match self {
            Way::In => "in",
            Way::Out => "out",
        }
    }

    fn tcx(self) -> u32 {
        match self {
            Way::In => sys::TCX_INGRESS,
            Way::Out => sys::TCX_EGRESS,
        }
    }
}

/// Attaches `program`; what a former run left there goes only when the new one stands, and in the way in which it hung.
pub fn attach(ebpf: &mut Ebpf, folder: &Path, program: &str, ifindex: u32, way: Way, by_tcx: bool) -> Result<()> {
    let what = format!("attach {program} to interface {ifindex}");
    let found = ebpf.program_mut(program).ok_or_else(|| KernelError::refused(&what, "no such program"))?;
    let classifier = loader::classifier(program, found)?;
    let former = Mark::find(folder, ifindex, way)?;
    if former.is_none() && (by_tcx || tcx_pin(folder, ifindex, way).exists()) {
        match attach_tcx(classifier, folder, ifindex, way, &what) {
            Err(error) if lacks_tcx(&error) => {}
            done => return done,
        }
    }
    clsact::attach(classifier, folder, ifindex, way, former, &what)
}

/// Detaches what is on the interface; nothing there: fine.
pub fn detach(folder: &Path, ifindex: u32) -> Result<()> {
    for way in [Way::In, Way::Out] {
        detach_tcx(&tcx_pin(folder, ifindex, way))?;
        if let Some(mark) = Mark::find(folder, ifindex, way)? {
            clsact::detach(ifindex, way, &mark)?;
        }
    }
    Ok(())
}

/// Interfaces with anything of this instance on them.
pub fn attached(folder: &Path) -> Result<Vec<u32>> {
    let mut found: Vec<u32> = files_in(folder)?
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.split('-').next()?.parse().ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Whether programs of this instance hang on the interface, both ways, for `attach` to replace.
pub fn stand(folder: &Path, ifindex: u32) -> Result<bool> {
    for way in [Way::In, Way::Out] {
        let stands = tcx_stands(&tcx_pin(folder, ifindex, way), ifindex)
            || Mark::find(folder, ifindex, way)?.map_or(Ok(false), |mark| clsact::stands(ifindex, way, &mark))?;
        if !stands {
            return Ok(false);
        }
    }
    Ok(true)
}

fn attach_tcx(program: &SchedClassifier, folder: &Path, ifindex: u32, way: Way, what: &str) -> Result<()> {
    let fd = program.fd().map_err(|error| KernelError::from_chain(what, &error))?;
    let pin = tcx_pin(folder, ifindex, way);
    let link = match sys::create_tcx_link(fd.as_fd(), ifindex, way.tcx()) {
        // This very program is there already, and the pin is its link's.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) && pin.exists() => return Ok(()),
        link => link.map_err(|error| KernelError::from_io(what, &error))?,
    };
    // Taking the name drops the former link in the same step.
    repin(link.as_fd(), &pin)
}

/// Under a name that another object may have: there is no moment without one.
pub fn repin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let failed = |error| KernelError::from_io(format!("pin {}", path.display()), &error);
    // bpffs takes no dots in names.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push("-new");
    let fresh = PathBuf::from(fresh);
    remove(&fresh)?;
    sys::pin(object, &fresh).map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)
}

fn detach_tcx(pin: &Path) -> Result<()> {
    if let Ok(link) = sys::open_pin(pin) {
        // The link of an interface that is gone has nothing to detach from.
        let _ = sys::detach_link(link.as_fd());
    }
    remove(pin)
}

/// A link that somebody detached keeps its pin, and forgets its interface.
fn tcx_stands(pin: &Path, ifindex: u32) -> bool {
    sys::open_pin(pin).and_then(|link| sys::interface_of_tcx_link(link.as_fd())).is_ok_and(|found| found == ifindex)
}

fn lacks_tcx(error: &KernelError) -> bool {
    matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

fn tcx_pin(folder: &Path, ifindex: u32, way: Way) -> PathBuf {
    folder.join(format!("{ifindex}-{}", way.word()))
}

pub fn interface_name(ifindex: u32) -> Result<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the length that if_indextoname asks for.
    if unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr().cast()) }.is_null() {
        return Err(KernelError::last_os(format!("name of interface {ifindex}")));
    }
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}
