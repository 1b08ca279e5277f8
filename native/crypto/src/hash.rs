use aws_lc_rs::{digest, hkdf, hmac, rand};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::{failed, invalid};

/// The longest run of random bytes in one call; nothing here needs more.
const MAX_RANDOM: u32 = 1 << 20;

#[napi(catch_unwind)]
pub fn random_bytes(length: u32) -> Result<Buffer> {
    if length > MAX_RANDOM {
        return Err(invalid("too many random bytes in one call"));
    }
    let mut bytes = vec![0; length as usize];
    rand::fill(&mut bytes).map_err(|_| failed("the random source failed"))?;
    Ok(bytes.into())
}

/// SHA-256 of `first ‖ second`: 32 bytes.
#[napi(catch_unwind)]
pub fn sha256(first: &[u8], second: Option<&[u8]>) -> Buffer {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(first);
    if let Some(second) = second {
        context.update(second);
    }
    context.finish().as_ref().into()
}

#[napi(catch_unwind)]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Buffer {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
        .as_ref()
        .into()
}

/// HKDF-SHA-256, RFC 5869: at most 255 * 32 bytes.
#[napi(catch_unwind)]
pub fn hkdf_sha256(salt: &[u8], ikm: &[u8], info: &[u8], length: u32) -> Result<Buffer> {
    let mut output = vec![0; length.min(255 * 32) as usize];
    if output.len() != length as usize {
        return Err(invalid("HKDF-SHA-256 gives at most 8160 bytes"));
    }
    expand(salt, ikm, info, &mut output)?;
    Ok(output.into())
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
