use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::output::{Output, give};
use crate::{failed, invalid};

/// An X25519 key pair. The private key leaves only through `export_private`; AWS-LC wipes it when it is freed.
#[napi]
pub struct X25519Key {
    private: PrivateKey,
}

#[napi]
impl X25519Key {
    /// A new key pair; its public key goes to `public_key`, 32 bytes.
    #[napi(factory, catch_unwind)]
    pub fn generate(public_key: Output<'_>) -> Result<Self> {
        let private = PrivateKey::generate(&X25519).map_err(|_| failed("key generation failed"))?;
        Self::with_public(private, public_key)
    }

    #[napi(factory, catch_unwind)]
    pub fn from_private(public_key: Output<'_>, scalar: &[u8]) -> Result<Self> {
        let private =
            PrivateKey::from_private_key(&X25519, scalar).map_err(|_| invalid("an X25519 private key has 32 bytes"))?;
        Self::with_public(private, public_key)
    }

    /// True and the 32-byte shared secret; false for a key of another length, or an all-zero result.
    #[napi(catch_unwind)]
    pub fn dh(&self, output: Output<'_>, peer_public_key: &[u8]) -> bool {
        self.with_shared(peer_public_key, |shared| give(output, shared)).is_ok()
    }

    #[napi(catch_unwind)]
    pub fn export_private(&self, output: Output<'_>) -> Result<()> {
        let scalar: Curve25519SeedBin<'_> = self.private.as_be_bytes().map_err(|_| failed("no private key"))?;
        give(output, scalar.as_ref())
    }
}

impl X25519Key {
    fn with_public(private: PrivateKey, output: Output<'_>) -> Result<Self> {
        let public = private.compute_public_key().map_err(|_| failed("no public key"))?;
        give(output, public.as_ref())?;
        Ok(Self { private })
    }

    /// Hands the shared secret to `then`; an error when it is all zero, which AWS-LC refuses to give out.
    pub(crate) fn with_shared<T>(&self, peer_public_key: &[u8], then: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let peer = UnparsedPublicKey::new(&X25519, peer_public_key);
        agree(&self.private, peer, invalid("no usable shared secret"), then)
    }
}
