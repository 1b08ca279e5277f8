//! What the maps have to tell: another program's posture, and the events of the programs.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use aya::maps::{MapData, RingBuf};
use napi::bindgen_prelude::{Buffer, FnArgs};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use super::folder_events::FolderEvents;
use super::slot::{PinState, PostureSlot};
use crate::errors::Result;
use crate::watch::{Watch, signalled};

/// Slot 0 and `PinState`: weak, no error argument, a queue that holds the newest few.
pub type PostureCallback =
    ThreadsafeFunction<FnArgs<(u32, u32)>, (), FnArgs<(u32, u32)>, napi::Status, false, true, 64>;
/// Records one behind the other.
pub type EventsCallback = ThreadsafeFunction<Buffer, (), Buffer, napi::Status, false, true, 64>;

/// A change is to be known within 10 ms, and each wake costs 10 to 15 µs of CPU.
const POSTURE_POLL_MS: i32 = 8;
/// For hosts without a watch to spare on the pin's folder: every second.
const LOOK_EVERY: u32 = 125;
const RECORDS_A_BATCH: usize = 512;

impl Watch {
    /// Calls back when slot 0 of the posture map, or what is pinned at `pin`, is not what it was. Both are polled: the
    /// map may have been made by somebody else, and BPF arrays tell nobody of their changes.
    pub fn posture(map: OwnedFd, pin: PathBuf, callback: PostureCallback) -> Result<Self> {
        let folder = pin.parent().and_then(FolderEvents::of);
        let mut slot = PostureSlot::open(map, pin)?;
        let mut last = (slot.level()?, PinState::Ours);
        Self::spawn("shs-posture", move |stop| {
            let mut waited = vec![stop];
            waited.extend(folder.as_ref().map(FolderEvents::readable));
            for turn in 0u32.. {
                let woken = signalled(&waited, POSTURE_POLL_MS);
                if woken && signalled(&[stop], 0) {
                    return;
                }
                let has_news = woken && folder.as_ref().is_some_and(FolderEvents::drain);
                if has_news || turn.is_multiple_of(LOOK_EVERY) {
                    slot.look();
                }
                let Ok(level) = slot.level() else { continue };
                let now = (level, slot.pin());
                if now == last {
                    continue;
                }
                // A full queue would lose the newest level: keep the old one and try again.
                let told = (level, now.1 as u32).into();
                if callback.call(told, ThreadsafeFunctionCallMode::NonBlocking) == napi::Status::Ok {
                    last = now;
                }
            }
        })
    }

    pub fn events(mut ring: RingBuf<MapData>, callback: EventsCallback) -> Result<Self> {
        Self::spawn("shs-events", move |stop| {
            loop {
                let ring_fd = ring.as_raw_fd();
                // SAFETY: the ring outlives the call.
                let readable = unsafe { BorrowedFd::borrow_raw(ring_fd) };
                if signalled(&[stop, readable], -1) && signalled(&[stop], 0) {
                    return;
                }
                loop {
                    let mut batch = Vec::new();
                    let mut records = 0;
                    while records < RECORDS_A_BATCH
                        && let Some(record) = ring.next()
                    {
                        batch.extend_from_slice(&record);
                        records += 1;
                    }
                    if records == 0 {
                        break;
                    }
                    // A full queue loses the batch: denials are lossy, counters are not.
                    let _ = callback.call(batch.into(), ThreadsafeFunctionCallMode::NonBlocking);
                }
            }
        })
    }
}
