//! Programs on interfaces: first in the tcx chain, held by pinned links so that they outlive this process; on kernels
//! before 6.6 by clsact, where a pinned program marks what is attached.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};

use super::pins::{files_in, remove};
use super::{loader, sys};
use crate::errors::{KernelError, Result};

#[derive(Clone, Copy)]
pub enum Way {
    In,
    Out,
}

impl Way {
    fn word(self) -> &'static str {
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

    fn clsact(self) -> TcAttachType {
        match self {
            Way::In => TcAttachType::Ingress,
            Way::Out => TcAttachType::Egress,
        }
    }
}

/// Attaches `program`; what a former run left there goes only when the new one stands.
pub fn attach(ebpf: &mut Ebpf, folder: &Path, program: &str, ifindex: u32, way: Way, by_tcx: bool) -> Result<()> {
    let what = format!("attach {program} to interface {ifindex}");
    let found = ebpf.program_mut(program).ok_or_else(|| KernelError::refused(&what, "no such program"))?;
    let classifier = loader::classifier(program, found)?;
    if by_tcx {
        match attach_tcx(classifier, folder, ifindex, way, &what) {
            Err(error) if lacks_tcx(&error) => {}
            done => return done,
        }
    }
    attach_clsact(classifier, folder, program, ifindex, way, &what)
}

/// Detaches what is on the interface; nothing there: fine.
pub fn detach(folder: &Path, ifindex: u32) -> Result<()> {
    for way in [Way::In, Way::Out] {
        detach_tcx(&tcx_pin(folder, ifindex, way))?;
        for path in files_in(folder)? {
            if let Some((found, found_way, program)) = clsact_mark(&path)
                && found == ifindex
                && found_way == way.word()
            {
                detach_clsact(ifindex, way, &program)?;
                remove(&path)?;
            }
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

/// Whether what stands on the interface, both ways, is what `attach` replaces in one step: links of tcx, and no clsact.
pub fn held_by_tcx(folder: &Path, ifindex: u32) -> Result<bool> {
    let marks = files_in(folder)?.iter().any(|path| clsact_mark(path).is_some_and(|(found, ..)| found == ifindex));
    Ok(!marks && [Way::In, Way::Out].into_iter().all(|way| tcx_pin(folder, ifindex, way).exists()))
}

fn attach_tcx(program: &SchedClassifier, folder: &Path, ifindex: u32, way: Way, what: &str) -> Result<()> {
    let fd = program.fd().map_err(|error| KernelError::from_chain(what, &error))?;
    let pin = tcx_pin(folder, ifindex, way);
    let link = match sys::create_tcx_link(fd.as_fd(), ifindex, way.tcx()) {
        // This very program is there already, and the pin is its link's.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) && pin.exists() => return Ok(()),
        link => link.map_err(|error| KernelError::from_io(what, &error))?,
    };
    // bpffs takes no dots in names.
    let fresh = folder.join(format!("{ifindex}-{}-new", way.word()));
    remove(&fresh)?;
    sys::pin(link.as_fd(), &fresh).map_err(|error| KernelError::from_io(format!("pin {}", fresh.display()), &error))?;
    // The rename drops the former link in the same step.
    fs::rename(&fresh, &pin).map_err(|error| KernelError::from_io(format!("pin {}", pin.display()), &error))
}

fn detach_tcx(pin: &Path) -> Result<()> {
    if let Ok(link) = sys::open_pin(pin) {
        // The link of an interface that is gone has nothing to detach from.
        let _ = sys::detach_link(link.as_fd());
    }
    remove(pin)
}

fn lacks_tcx(error: &KernelError) -> bool {
    matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

fn attach_clsact(
    classifier: &mut SchedClassifier,
    folder: &Path,
    program: &str,
    ifindex: u32,
    way: Way,
    what: &str,
) -> Result<()> {
    let name = interface_name(ifindex)?;
    if let Err(error) = tc::qdisc_add_clsact(&name) {
        let error = KernelError::from_chain(what, &error);
        if error.errno() != Some(libc::EEXIST) {
            return Err(error);
        }
    }
    let mark = clsact_pin(folder, ifindex, way, program);
    if mark.exists() {
        detach_clsact(ifindex, way, program)?;
        remove(&mark)?;
    }
    let options = TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() });
    let failed = |error: &(dyn std::error::Error + 'static)| KernelError::from_chain(what, error);
    let id = classifier.attach_with_options(&name, way.clsact(), options).map_err(|error| failed(&error))?;
    // The filter outlives its handle; forgetting it keeps a later drop from detaching in another namespace.
    std::mem::forget(classifier.take_link(id).map_err(|error| failed(&error))?);
    let fd = classifier.fd().map_err(|error| failed(&error))?;
    sys::pin(fd.as_fd(), &mark).map_err(|error| KernelError::from_io(format!("pin {}", mark.display()), &error))
}

fn detach_clsact(ifindex: u32, way: Way, program: &str) -> Result<()> {
    // An interface that is gone took its filters with it.
    let Ok(name) = interface_name(ifindex) else { return Ok(()) };
    match tc::qdisc_detach_program(&name, way.clsact(), program) {
        Ok(()) => Ok(()),
        Err(error) => {
            let error = KernelError::from_chain(format!("detach {program} from {name}"), &error);
            if error.errno() == Some(libc::ENOENT) { Ok(()) } else { Err(error) }
        }
    }
}

fn tcx_pin(folder: &Path, ifindex: u32, way: Way) -> PathBuf {
    folder.join(format!("{ifindex}-{}", way.word()))
}

fn clsact_pin(folder: &Path, ifindex: u32, way: Way, program: &str) -> PathBuf {
    folder.join(format!("{ifindex}-{}-clsact-{program}", way.word()))
}

fn clsact_mark(path: &Path) -> Option<(u32, String, String)> {
    let mut parts = path.file_name()?.to_str()?.splitn(4, '-');
    let (ifindex, way, kind, program) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if kind != "clsact" {
        return None;
    }
    Some((ifindex.parse().ok()?, way.to_string(), program.to_string()))
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
