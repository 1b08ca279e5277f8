use aws_lc_rs::{digest, hkdf, hmac, rand};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::output::{Output, give};
use crate::{failed, invalid};

pub(crate) const HASH_LENGTH: usize = 32;
const HKDF_MAX: usize = 255 * HASH_LENGTH;

#[napi(catch_unwind)]
pub fn random_bytes(output: Output<'_>) -> Result<()> {
    let mut bytes = vec![0; output.len()];
    rand::fill(&mut bytes).map_err(|_| failed("the random source failed"))?;
    give(output, &bytes)
}

/// SHA-256 of `first ‖ second`: 32 bytes.
#[napi(catch_unwind)]
pub fn sha256(output: Output<'_>, first: &[u8], second: &[u8]) -> Result<()> {
    give(output, &hash_of(first, second))
}

/// HMAC-SHA-256: 32 bytes.
#[napi(catch_unwind)]
pub fn hmac_sha256(output: Output<'_>, key: &[u8], message: &[u8]) -> Result<()> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    give(output, hmac::sign(&key, message).as_ref())
}

/// HKDF-SHA-256, RFC 5869: as many bytes as `output` has, at most 255 * 32.
#[napi(catch_unwind)]
pub fn hkdf_sha256(output: Output<'_>, salt: &[u8], ikm: &[u8], info: &[u8]) -> Result<()> {
    let length = output.len();
    if length > HKDF_MAX {
        return Err(invalid("HKDF-SHA-256 gives at most 8160 bytes"));
    }
    let mut bytes = vec![0; length];
    expand(salt, ikm, info, &mut bytes)?;
    give(output, &bytes)
}

pub(crate) fn hash_of(first: &[u8], second: &[u8]) -> [u8; HASH_LENGTH] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(first);
    context.update(second);
    let mut hash = [0; HASH_LENGTH];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

pub(crate) fn expand(salt: &[u8], ikm: &[u8], info: &[u8], output: &mut [u8]) -> Result<()> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let length = Length(output.len());
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(ikm)
        .expand(&[info], length)
        .and_then(|okm| okm.fill(output))
        .map_err(|_| failed("HKDF failed"))
}
