//! Work away from Node's threads, answered as a promise.
//!
//! The runtime is ours: libuv's pool is shared with file and name look-ups, and a stuck resolver must not delay the
//! removal of a peer. Its threads do not keep Node alive and end with the process.

use std::future::Future;
use std::sync::OnceLock;

use napi::Env;
use napi::bindgen_prelude::{Object, ToNapiValue};
use tokio::runtime::{Builder, Runtime};

use crate::errors::{KernelError, Result};

/// Packets are moved by these threads: more of them than cores only adds switches.
const MOST_THREADS: usize = 4;

pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let built = Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, MOST_THREADS))
        .thread_name("shellstream-io")
        .enable_all()
        .build()
        .map_err(|error| KernelError::from_io("start the tunnel threads", &error))?;
    Ok(RUNTIME.get_or_init(|| built))
}

/// A promise of what `work` answers. A panic in it rejects the promise.
pub fn promise<'env, T, F>(env: &'env Env, work: F) -> napi::Result<Object<'env>>
where
    T: ToNapiValue + Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let runtime = runtime()?;
    let (deferred, promise) = env.create_deferred()?;
    runtime.spawn(async move {
        let outcome = match tokio::spawn(work).await {
            Ok(outcome) => outcome,
            Err(broken) => Err(KernelError::refused("background work", broken.to_string())),
        };
        match outcome {
            Ok(value) => deferred.resolve(move |_| Ok(value)),
            Err(error) => deferred.reject(error.into()),
        }
    });
    Ok(promise)
}

/// The same for work that blocks in system calls.
pub fn promise_blocking<'env, T, W>(env: &'env Env, work: W) -> napi::Result<Object<'env>>
where
    T: ToNapiValue + Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    promise(env, async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(broken) => Err(KernelError::refused("background work", broken.to_string())),
        }
    })
}
