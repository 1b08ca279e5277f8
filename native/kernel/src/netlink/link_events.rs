//! Tells that something about the links of a network namespace changed, and never what: whoever hears of it looks for
//! himself. So nothing is parsed, and a message that was lost, doubled or made up costs a look at the most.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::ebpf::inside::Inside;
use crate::errors::{KernelError, Result};
use crate::watch::{Watch, signalled};

/// Weak, without arguments. A full queue says that a call waits which will see all that has happened so far: whatever
/// number of changes comes meanwhile is that one call.
type LinksCallback = ThreadsafeFunction<(), (), (), napi::Status, false, true, 1>;

const WHAT: &str = "listen for links";
const RTNLGRP_LINK: u32 = 1;
/// Taken off the queue before JavaScript is told, so that a storm without an end does not put that off for ever.
const MESSAGES_A_CALL: usize = 256;

/// Calls back after links came, went, or changed their name or state.
#[napi]
pub struct LinkWatch {
    /// None once closed.
    watch: Option<Watch>,
    problem: Arc<OnceLock<String>>,
}

#[napi]
impl LinkWatch {
    /// Of the network namespace at this path; none: the calling thread's.
    #[napi(factory, catch_unwind)]
    pub fn open(callback: Function<'_, (), ()>, namespace: Option<String>) -> napi::Result<Self> {
        let events = Inside::open(namespace.as_deref())?.run(LinkEvents::open)?;
        let callback: LinksCallback =
            callback.build_threadsafe_function().weak::<true>().max_queue_size::<1>().build()?;
        let problem = Arc::new(OnceLock::new());
        let watch = watch_links(events, callback, Arc::clone(&problem))?;
        Ok(Self { watch: Some(watch), problem })
    }

    /// Why nothing will be told any more. The callback is called once when it comes to that.
    #[napi(getter, catch_unwind)]
    pub fn problem(&self) -> Option<String> {
        self.problem.get().cloned()
    }

    /// A call that waits may still come. Idempotent.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.watch = None;
    }
}

fn watch_links(events: LinkEvents, callback: LinksCallback, problem: Arc<OnceLock<String>>) -> Result<Watch> {
    Watch::spawn("shs-links", move |stop| {
        loop {
            let woken = signalled(&[stop, events.readable()], -1);
            if signalled(&[stop], 0) {
                return;
            }
            let drained = if woken { drain(|| events.receive()) } else { Ok(false) };
            let is_over = drained.is_err();
            let has_news = drained.unwrap_or_else(|error| {
                let _ = problem.set(KernelError::from_io(WHAT, &error).to_string());
                true
            });
            if has_news {
                let _ = callback.call((), ThreadsafeFunctionCallMode::NonBlocking);
            }
            if is_over {
                return;
            }
        }
    })
}

struct LinkEvents(Socket);

impl LinkEvents {
    fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(RTNLGRP_LINK)?;
            Ok(socket)
        };
        open().map(Self).map_err(|error| KernelError::from_io(WHAT, &error))
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes one message, of which nothing is kept.
    fn receive(&self) -> io::Result<()> {
        let mut nothing = [0u8; 1];
        self.0.recv(&mut &mut nothing[..], libc::MSG_DONTWAIT | libc::MSG_TRUNC).map(drop)
    }
}

/// Takes what waits, up to a number; whether anything did. Messages for which there was no room are news too: the kernel
/// says once that they are lost, in their place.
fn drain(mut receive: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
    for taken in 0..MESSAGES_A_CALL {
        let Err(error) = receive() else { continue };
        match error.raw_os_error() {
            Some(libc::EAGAIN) => return Ok(taken > 0),
            Some(libc::ENOBUFS | libc::EINTR) => {}
            _ => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outcomes of `receive` in their order, then an empty queue; `drain`'s answer and how many it took.
    fn drained(outcomes: &[i32]) -> (io::Result<bool>, usize) {
        let mut taken = 0;
        let answer = drain(|| {
            let outcome = outcomes.get(taken).copied().unwrap_or(libc::EAGAIN);
            taken += 1;
            if outcome == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(outcome)) }
        });
        (answer, taken)
    }

    #[test]
    fn an_empty_queue_is_no_news() {
        assert!(matches!(drained(&[]), (Ok(false), 1)));
    }

    #[test]
    fn messages_are_taken_to_the_last_and_are_one_piece_of_news() {
        assert!(matches!(drained(&[0, 0, 0]), (Ok(true), 4)));
    }

    #[test]
    fn attack_messages_lost_in_a_storm_are_news_too_alone_or_among_others() {
        assert!(matches!(drained(&[libc::ENOBUFS]), (Ok(true), 2)));
        assert!(matches!(drained(&[0, libc::ENOBUFS, 0, libc::ENOBUFS]), (Ok(true), 5)));
    }

    #[test]
    fn attack_a_storm_without_an_end_does_not_put_the_news_off() {
        assert!(matches!(drained(&[0; 2 * MESSAGES_A_CALL]), (Ok(true), MESSAGES_A_CALL)));
        assert!(matches!(drained(&[libc::ENOBUFS; 2 * MESSAGES_A_CALL]), (Ok(true), MESSAGES_A_CALL)));
    }

    #[test]
    fn what_cannot_be_listened_to_any_more_is_an_error() {
        assert!(drained(&[0, libc::EBADF]).0.is_err());
    }
}
