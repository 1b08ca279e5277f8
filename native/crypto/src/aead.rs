use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::output::{Output, give, give_if};
use crate::{failed, invalid};

pub(crate) const TAG_LENGTH: usize = 16;
const NONCE_LENGTH: usize = 12;

/// A ChaCha20-Poly1305 key that stays on this side.
#[napi]
pub struct AeadKey {
    key: LessSafeKey,
}

#[napi]
impl AeadKey {
    #[napi(factory, catch_unwind)]
    pub fn from_bytes(key: &[u8]) -> Result<Self> {
        Self::new(key)
    }

    /// Ciphertext with tag under Noise's nonce of this counter.
    #[napi(catch_unwind)]
    pub fn seal(&self, output: Output<'_>, counter: BigInt, associated_data: &[u8], plaintext: &[u8]) -> Result<()> {
        let nonce = noise_nonce(counter_of(&counter)?);
        give(output, &self.seal_at(nonce, associated_data, plaintext)?)
    }

    /// True and the plaintext, or false when authentication fails.
    #[napi(catch_unwind)]
    pub fn open(&self, output: Output<'_>, counter: BigInt, associated_data: &[u8], ciphertext: &[u8]) -> Result<bool> {
        let nonce = noise_nonce(counter_of(&counter)?);
        give_if(output, self.open_at(nonce, associated_data, ciphertext))
    }

    /// Seals, without associated data, what stands in `bytes` before their last 16; the tag goes there.
    #[napi(catch_unwind)]
    pub fn seal_in_place(&self, mut bytes: Output<'_>, counter: BigInt) -> Result<()> {
        let nonce = Nonce::assume_unique_for_key(noise_nonce(counter_of(&counter)?));
        let body = bytes.len().checked_sub(TAG_LENGTH).ok_or_else(|| invalid("no room for the tag"))?;
        // SAFETY: the call is synchronous, so JavaScript touches nothing meanwhile, and no other argument is memory.
        let (plaintext, room) = unsafe { bytes.as_mut() }.split_at_mut(body);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), plaintext)
            .map_err(|_| failed("sealing failed"))?;
        room.copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// True, and the plaintext stands in `bytes` before their last 16; or false when authentication fails, and nothing
    /// that stands there means anything.
    #[napi(catch_unwind)]
    pub fn open_in_place(&self, mut bytes: Output<'_>, counter: BigInt) -> Result<bool> {
        let nonce = Nonce::assume_unique_for_key(noise_nonce(counter_of(&counter)?));
        // SAFETY: as above.
        Ok(self.key.open_in_place(nonce, Aad::empty(), unsafe { bytes.as_mut() }).is_ok())
    }

    /// Under any 12-byte nonce, as the public vectors want it.
    #[napi(catch_unwind)]
    pub fn seal_with_nonce(
        &self,
        output: Output<'_>,
        nonce: &[u8],
        associated_data: &[u8],
        plaintext: &[u8],
    ) -> Result<()> {
        let nonce = nonce_of(nonce)?;
        give(output, &self.seal_at(nonce, associated_data, plaintext)?)
    }

    #[napi(catch_unwind)]
    pub fn open_with_nonce(
        &self,
        output: Output<'_>,
        nonce: &[u8],
        associated_data: &[u8],
        ciphertext: &[u8],
    ) -> Result<bool> {
        let nonce = nonce_of(nonce)?;
        give_if(output, self.open_at(nonce, associated_data, ciphertext))
    }
}

impl AeadKey {
    pub(crate) fn new(key: &[u8]) -> Result<Self> {
        let unbound =
            UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| invalid("a ChaCha20-Poly1305 key has 32 bytes"))?;
        Ok(Self { key: LessSafeKey::new(unbound) })
    }

    pub(crate) fn seal_at(&self, nonce: [u8; NONCE_LENGTH], ad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(plaintext.len() + TAG_LENGTH);
        bytes.extend_from_slice(plaintext);
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(ad), &mut bytes)
            .map_err(|_| failed("sealing failed"))?;
        Ok(bytes)
    }

    pub(crate) fn open_at(&self, nonce: [u8; NONCE_LENGTH], ad: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
        let body = ciphertext.len().checked_sub(TAG_LENGTH)?;
        let (sealed, tag) = ciphertext.split_at(body);
        let mut plaintext = vec![0; body];
        self.key
            .open_separate_gather(Nonce::assume_unique_for_key(nonce), Aad::from(ad), sealed, tag, &mut plaintext)
            .ok()?;
        Some(plaintext)
    }
}

/// Four zero bytes and the counter, little-endian (Noise, section 12.3).
pub(crate) fn noise_nonce(counter: u64) -> [u8; NONCE_LENGTH] {
    let mut nonce = [0; NONCE_LENGTH];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn counter_of(counter: &BigInt) -> Result<u64> {
    match counter.get_u64() {
        (false, value, true) => Ok(value),
        _ => Err(invalid("a counter is an unsigned 64-bit number")),
    }
}

fn nonce_of(bytes: &[u8]) -> Result<[u8; NONCE_LENGTH]> {
    bytes.try_into().map_err(|_| invalid("a nonce has 12 bytes"))
}
