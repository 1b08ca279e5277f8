//! The eBPF data plane of one instance, as JavaScript sees it: maps as bytes, programs by name.
//!
//! What the bytes mean is in native/bpf/layout.h and src/dataplane/linux/flows-packing.ts; which to write is the
//! daemon's to decide.

mod clsact;
mod folder_events;
pub(crate) mod inside;
mod interface;
mod links;
mod loader;
mod pins;
mod policies;
mod slot;
mod sys;
mod table;
mod watch;

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use napi::bindgen_prelude::{BigInt, Buffer, FnArgs, Function};
use napi_derive::napi;

use self::inside::Inside;
use self::links::Way;
use self::loader::Loaded;
use self::pins::Pins;
use self::policies::{Policies, Stopped};
use self::table::{Memory, Table};
use crate::errors::{KernelError, Result};
use crate::watch::Watch;

#[napi(object)]
pub struct FlowPlaneOptions {
    /// Names the folder under /sys/fs/bpf/shellstream: 1 to 32 of a-z, 0-9 and dash.
    pub instance: String,
    /// Path of shellstream.o.
    pub object: String,
    /// Entries by map name, where the object's own are not wanted.
    pub sizes: HashMap<String, u32>,
    /// Flows a session may hold.
    pub quota: u32,
    /// Path of the network namespace whose interfaces are meant; none: the caller's.
    pub namespace: Option<String>,
    /// False attaches by clsact even where tcx is there.
    pub tcx: bool,
}

#[napi(object)]
pub struct Written {
    /// Entries that are in the map now.
    pub count: u32,
    /// Why the next one is not.
    pub error: Option<String>,
}

#[napi(object)]
pub struct Installed {
    /// Entries that are in the map now.
    pub count: u32,
    /// The next one's key is there already.
    pub is_there: bool,
    /// Why the next one is not in the map, when it is not that.
    pub error: Option<String>,
}

#[napi(object)]
pub struct InterfaceLayer {
    pub ethernet: bool,
    pub mtu: u32,
}

#[napi(object)]
pub struct TestRun {
    /// 0xffffffff (TC_ACT_UNSPEC): it passes; 2 (TC_ACT_SHOT): it is dropped.
    pub verdict: u32,
    /// Mean of all repetitions.
    pub nanoseconds: u32,
    pub packet: Buffer,
}

/// Loaded programs and maps. Attachments and pins outlive it, and the process.
#[napi]
pub struct FlowPlane {
    /// None once closed.
    plane: Option<Plane>,
}

struct Plane {
    // Before `pins`: threads end and maps close before the instance's lock is let go.
    posture_watch: Option<Watch>,
    events_watch: Option<Watch>,
    loaded: Loaded,
    inside: Inside,
    tcx: bool,
    pins: Pins,
}

#[napi]
impl FlowPlane {
    /// Takes the instance's lock, mounts bpffs when needed, loads. Fails when the instance is owned by a live process.
    #[napi(factory, catch_unwind)]
    pub fn open(options: FlowPlaneOptions) -> napi::Result<Self> {
        let inside = Inside::open(options.namespace.as_deref())?;
        let pins = Pins::open(&options.instance)?;
        let loaded = loader::load(&options.object, &pins, &options.sizes, options.quota)?;
        let plane = Plane { posture_watch: None, events_watch: None, loaded, inside, tcx: options.tcx, pins };
        Ok(Self { plane: Some(plane) })
    }

    /// Ends the threads and lets the instance go. Attachments and pins stay. Idempotent.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.plane = None;
    }

    /// What the programs must be told of an interface.
    #[napi(catch_unwind)]
    pub fn describe_interface(&self, ifindex: u32) -> napi::Result<InterfaceLayer> {
        let found = self.plane()?.inside.run(|| interface::describe(ifindex))?;
        Ok(InterfaceLayer { ethernet: found.ethernet, mtu: found.mtu })
    }

    /// Attaches a program for each way, first in the chain; replaces what this instance had there.
    #[napi(catch_unwind)]
    pub fn attach(&mut self, ifindex: u32, program_in: String, program_out: String) -> napi::Result<()> {
        let plane = self.plane_mut()?;
        let (ebpf, folder, tcx) = (&mut plane.loaded.ebpf, plane.pins.links(), plane.tcx);
        plane.inside.run(|| {
            links::attach(ebpf, &folder, &program_in, ifindex, Way::In, tcx)?;
            links::attach(ebpf, &folder, &program_out, ifindex, Way::Out, tcx)
        })?;
        Ok(())
    }

    /// Nothing attached: fine.
    #[napi(catch_unwind)]
    pub fn detach(&self, ifindex: u32) -> napi::Result<()> {
        let plane = self.plane()?;
        let folder = plane.pins.links();
        plane.inside.run(|| links::detach(&folder, ifindex))?;
        Ok(())
    }

    /// Interface indexes with anything of this instance on them, former runs' too.
    #[napi(catch_unwind)]
    pub fn attached(&self) -> napi::Result<Vec<u32>> {
        Ok(links::attached(&self.plane()?.pins.links())?)
    }

    /// Whether the next `attach` replaces a filter on the interface, both ways, with no moment between the old and the new.
    #[napi(catch_unwind)]
    pub fn replaces_at_once(&self, ifindex: u32) -> napi::Result<bool> {
        let plane = self.plane()?;
        let folder = plane.pins.links();
        Ok(plane.inside.run(|| links::stand(&folder, ifindex))?)
    }

    #[napi(catch_unwind)]
    pub fn get(&self, map: String, key: &[u8]) -> napi::Result<Option<Buffer>> {
        Ok(self.table(&map)?.get(key)?.map(Buffer::from))
    }

    #[napi(catch_unwind)]
    pub fn put(&self, map: String, key: &[u8], value: &[u8]) -> napi::Result<()> {
        Ok(self.table(&map)?.put(key, value)?)
    }

    /// Keys and values one behind the other. Stops at the first that the kernel refuses.
    #[napi(catch_unwind)]
    pub fn put_batch(&self, map: String, keys: &[u8], values: &[u8]) -> napi::Result<Written> {
        let (count, error) = self.table(&map)?.put_batch(keys, values)?;
        Ok(Written { count, error: error.map(|error| error.to_string()) })
    }

    /// Puts entries (`struct staged`, one behind the other) into flow_policy. Stops at the first whose key is there
    /// already, or that the kernel refuses.
    #[napi(catch_unwind)]
    pub fn install_policies(&mut self, entries: &[u8]) -> napi::Result<Installed> {
        let (program, policies) = self.policies("install_policies")?;
        let done = policies.install(program, entries)?;
        let (is_there, error) = match done.stopped {
            None => (false, None),
            Some(Stopped::IsThere) => (true, None),
            Some(Stopped::Refused(error)) => (false, Some(error.to_string())),
        };
        Ok(Installed { count: done.count as u32, is_there, error })
    }

    /// Takes the same entries out of flow_policy, where they still are their session's; answers how many were.
    #[napi(catch_unwind)]
    pub fn uninstall_policies(&mut self, entries: &[u8]) -> napi::Result<u32> {
        let (program, policies) = self.policies("uninstall_policies")?;
        Ok(policies.uninstall(program, entries)? as u32)
    }

    /// Deletes what is there of these keys; answers how many were.
    #[napi(catch_unwind)]
    pub fn delete_batch(&self, map: String, keys: &[u8]) -> napi::Result<u32> {
        Ok(self.table(&map)?.delete_batch(keys)?)
    }

    /// Makes a hash hold exactly these keys, new ones with `value`; answers why it cannot, and then holds what it held.
    #[napi(catch_unwind)]
    pub fn hold_exactly(&self, map: String, keys: &[u8], value: &[u8]) -> napi::Result<Option<String>> {
        Ok(self.table(&map)?.hold_exactly(keys, value)?.map(|error| error.to_string()))
    }

    /// All keys of a hash or a trie, one behind the other.
    #[napi(catch_unwind)]
    pub fn keys(&self, map: String) -> napi::Result<Buffer> {
        Ok(self.table(&map)?.keys()?.into())
    }

    /// Deletes every entry; arrays are set to zero.
    #[napi(catch_unwind)]
    pub fn clear(&self, map: String) -> napi::Result<()> {
        Ok(self.table(&map)?.clear()?)
    }

    /// Entries that the map can hold.
    #[napi(catch_unwind)]
    pub fn capacity(&self, map: String) -> napi::Result<u32> {
        Ok(self.table(&map)?.info().max_entries)
    }

    /// One store of a word into an entry of a memory-mapped array; `offset` in bytes.
    #[napi(catch_unwind)]
    pub fn store_word(&self, map: String, index: u32, offset: u32, value: u32) -> napi::Result<()> {
        self.memory(&map)?.word(index, offset)?.store(value, Ordering::SeqCst);
        Ok(())
    }

    /// The same with 64 bits.
    #[napi(catch_unwind)]
    pub fn store_long(&self, map: String, index: u32, offset: u32, value: BigInt) -> napi::Result<()> {
        let (negative, value, lossless) = value.get_u64();
        if negative || !lossless {
            return Err(KernelError::refused(map, "wants a number of 64 bits, not below zero").into());
        }
        self.memory(&map)?.long(index, offset)?.store(value, Ordering::SeqCst);
        Ok(())
    }

    /// A copy of entries of a memory-mapped array; each rounded up to 8 bytes.
    #[napi(catch_unwind)]
    pub fn read_array(&self, map: String, first: u32, count: u32) -> napi::Result<Buffer> {
        Ok(self.memory(&map)?.read(first, count)?.into())
    }

    /// Sets entries of a memory-mapped array to zero.
    #[napi(catch_unwind)]
    pub fn clear_array(&self, map: String, first: u32, count: u32) -> napi::Result<()> {
        Ok(self.memory(&map)?.clear(first, count)?)
    }

    /// Calls back with slot 0 of posture_level and the state of its pin when one of them changed. 0: the pin is our map's;
    /// 1: another map is pinned there, and the level is that one's; 2: nothing is, nor can be.
    /// One watch at a time; a second replaces the first.
    #[napi(catch_unwind)]
    pub fn watch_posture(&mut self, callback: Function<'_, FnArgs<(u32, u32)>, ()>) -> napi::Result<()> {
        self.plane_mut()?.posture_watch = None;
        let callback = callback.build_threadsafe_function().weak::<true>().max_queue_size::<64>().build()?;
        let map = self.table("posture_level")?.fd().try_clone();
        let map = map.map_err(|error| KernelError::from_io("posture_level", &error))?;
        let pin = self.plane()?.pins.map("posture_level");
        self.plane_mut()?.posture_watch = Some(Watch::posture(map, pin, callback)?);
        Ok(())
    }

    /// Calls back with denials (`struct denial`), one behind the other. Once in the life of this object.
    #[napi(catch_unwind)]
    pub fn watch_events(&mut self, callback: Function<'_, Buffer, ()>) -> napi::Result<()> {
        let Some(ring) = self.plane_mut()?.loaded.events.take() else {
            return Err(KernelError::refused("shell_events", "is already watched").into());
        };
        let callback = callback.build_threadsafe_function().weak::<true>().max_queue_size::<64>().build()?;
        self.plane_mut()?.events_watch = Some(Watch::events(ring, callback)?);
        Ok(())
    }

    /// Runs a program on a packet that never was on a wire: for tests and benchmarks. `ingress`: where it came in, if it is passed on.
    #[napi(catch_unwind)]
    pub fn test_run(
        &mut self,
        program: String,
        ifindex: u32,
        packet: &[u8],
        repeat: u32,
        ingress: Option<u32>,
    ) -> napi::Result<TestRun> {
        let plane = self.plane_mut()?;
        let fd = loader::program(&mut plane.loaded.ebpf, &program)?;
        let run = plane.inside.run(|| {
            sys::test_run(fd, sys::Trial { packet, ifindex, ingress_ifindex: ingress.unwrap_or(0), mark: 0, repeat })
                .map_err(|error| KernelError::from_io(format!("test run of {program}"), &error))
        })?;
        Ok(TestRun { verdict: run.verdict as u32, nanoseconds: run.nanoseconds, packet: run.packet.into() })
    }

    fn plane(&self) -> Result<&Plane> {
        self.plane.as_ref().ok_or_else(closed)
    }

    fn plane_mut(&mut self) -> Result<&mut Plane> {
        self.plane.as_mut().ok_or_else(closed)
    }

    fn table(&self, map: &str) -> Result<&Table> {
        self.plane()?.loaded.tables.get(map).ok_or_else(|| KernelError::refused(map, "no such map"))
    }

    fn policies(&mut self, program: &str) -> Result<(BorrowedFd<'_>, Policies<'_>)> {
        let Loaded { ebpf, tables, .. } = &mut self.plane_mut()?.loaded;
        let table = |name: &str| tables.get(name).ok_or_else(|| KernelError::refused(name, "no such map"));
        let policies = Policies::new(table("staged_policies")?, table("flow_policy")?)?;
        Ok((loader::program(ebpf, program)?, policies))
    }

    fn memory(&self, map: &str) -> Result<&Memory> {
        self.table(map)?.memory()
    }
}

fn closed() -> KernelError {
    KernelError::refused("data plane", "is closed")
}

/// Nanoseconds of CLOCK_BOOTTIME.
#[napi(catch_unwind)]
pub fn boot_time_ns() -> BigInt {
    BigInt::from(crate::boottime::now_ns())
}
