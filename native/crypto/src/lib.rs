//! Primitives of shellstream/1 from AWS-LC, for Node. No policy and no protocol beyond Noise's symmetric state.
//!
//! A panic in a plain napi function aborts Node, so every function catches it. Lengths are checked here although
//! the TypeScript side checks them too: this file must not depend on its caller for memory safety or for a panic.
//! Results go into an `output` of the right length that the caller allocated: making a Buffer on this side costs
//! more than most of the primitives.

mod aead;
mod ecdsa;
mod hash;
mod output;
mod symmetric;
mod x25519;

use napi::{Error, Status};

fn invalid(what: &str) -> Error {
    Error::new(Status::InvalidArg, what)
}

fn failed(what: &str) -> Error {
    Error::new(Status::GenericFailure, what)
}
