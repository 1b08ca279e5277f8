use napi::bindgen_prelude::*;
use napi_derive::napi;
use zeroize::Zeroizing;

use crate::aead::{AeadKey, noise_nonce};
use crate::failed;
use crate::hash::{HASH_LENGTH, expand, hash_of};
use crate::output::{Output, give, give_if};
use crate::x25519::X25519Key;

/// SymmetricState and CipherState of the Noise specification, sections 5.1 and 5.2. DH results, chaining key and
/// cipher keys never reach the JavaScript heap.
#[napi]
pub struct NoiseSymmetricState {
    h: [u8; HASH_LENGTH],
    secrets: Option<Secrets>,
}

struct Secrets {
    chaining_key: Zeroizing<[u8; HASH_LENGTH]>,
    cipher: Option<Cipher>,
}

struct Cipher {
    key: AeadKey,
    n: u64,
}

impl Cipher {
    fn encrypt_with_ad(&mut self, ad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let sealed = self.key.seal_at(noise_nonce(self.n), ad, plaintext);
        // A handshake has a handful of messages a key: the counter cannot run out.
        self.n += 1;
        sealed
    }

    fn decrypt_with_ad(&mut self, ad: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
        let opened = self.key.open_at(noise_nonce(self.n), ad, ciphertext);
        self.n += 1;
        opened
    }
}

#[napi]
impl NoiseSymmetricState {
    #[napi(factory, catch_unwind)]
    pub fn initialize(protocol_name: &[u8]) -> Self {
        let mut h = [0; HASH_LENGTH];
        match h.get_mut(..protocol_name.len()) {
            Some(start) => start.copy_from_slice(protocol_name),
            None => h = hash_of(protocol_name, &[]),
        }
        let secrets = Some(Secrets { chaining_key: Zeroizing::new(h), cipher: None });
        Self { h, secrets }
    }

    #[napi(catch_unwind)]
    pub fn mix_hash(&mut self, bytes: &[u8]) {
        self.h = hash_of(&self.h, bytes);
    }

    /// MixKey of a DH; false, and nothing mixed, when there is no usable shared secret.
    #[napi(catch_unwind)]
    pub fn mix_dh(&mut self, own: &X25519Key, peer_public_key: &[u8]) -> Result<bool> {
        let secrets = self.secrets()?;
        let chaining_key = &secrets.chaining_key;
        let mixed = own.with_shared(peer_public_key, |shared| two_keys(&chaining_key[..], shared));
        let Ok(output) = mixed else { return Ok(false) };
        let (next, key) = output.split_at(HASH_LENGTH);
        secrets.chaining_key.copy_from_slice(next);
        secrets.cipher = Some(Cipher { key: AeadKey::new(key)?, n: 0 });
        Ok(true)
    }

    /// Ciphertext, with a tag once a key has been mixed in.
    #[napi(catch_unwind)]
    pub fn encrypt_and_hash(&mut self, output: Output<'_>, plaintext: &[u8]) -> Result<()> {
        let h = self.h;
        let ciphertext = match &mut self.secrets()?.cipher {
            Some(cipher) => cipher.encrypt_with_ad(&h, plaintext)?,
            None => plaintext.to_vec(),
        };
        self.mix_hash(&ciphertext);
        give(output, &ciphertext)
    }

    /// True and the plaintext, or false when authentication fails: the state is of no use then.
    #[napi(catch_unwind)]
    pub fn decrypt_and_hash(&mut self, output: Output<'_>, ciphertext: &[u8]) -> Result<bool> {
        let h = self.h;
        let plaintext = match &mut self.secrets()?.cipher {
            Some(cipher) => cipher.decrypt_with_ad(&h, ciphertext),
            None => Some(ciphertext.to_vec()),
        };
        self.mix_hash(ciphertext);
        give_if(output, plaintext)
    }

    #[napi(catch_unwind)]
    pub fn handshake_hash(&self, output: Output<'_>) -> Result<()> {
        give(output, &self.h)
    }

    /// The keys initiator → responder and responder → initiator; ends the state.
    #[napi(catch_unwind)]
    pub fn split(&mut self) -> Result<(AeadKey, AeadKey)> {
        let secrets = self.secrets.take().ok_or_else(ended)?;
        let output = two_keys(&secrets.chaining_key[..], &[])?;
        let (first, second) = output.split_at(HASH_LENGTH);
        Ok((AeadKey::new(first)?, AeadKey::new(second)?))
    }

    /// Wipes the secrets. Idempotent.
    #[napi(catch_unwind)]
    pub fn destroy(&mut self) {
        self.secrets = None;
    }
}

impl NoiseSymmetricState {
    fn secrets(&mut self) -> Result<&mut Secrets> {
        self.secrets.as_mut().ok_or_else(ended)
    }
}

fn ended() -> Error {
    failed("a symmetric state was used after its end")
}

/// HKDF of the specification with two outputs: RFC 5869 with an empty info.
fn two_keys(chaining_key: &[u8], ikm: &[u8]) -> Result<Zeroizing<[u8; 2 * HASH_LENGTH]>> {
    let mut output = Zeroizing::new([0; 2 * HASH_LENGTH]);
    expand(chaining_key, ikm, &[], &mut output[..])?;
    Ok(output)
}
