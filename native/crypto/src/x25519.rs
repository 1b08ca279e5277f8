use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::{failed, invalid};

/// An X25519 key pair. The private key leaves only through `export_private`; AWS-LC wipes it when it is freed.
#[napi]
pub struct X25519Key {
    private: PrivateKey,
}

#[napi]
impl X25519Key {
    #[napi(factory, catch_unwind)]
    pub fn generate() -> Result<Self> {
        let private = PrivateKey::generate(&X25519).map_err(|_| failed("key generation failed"))?;
        Ok(Self { private })
    }

    #[napi(factory, catch_unwind)]
    pub fn from_private(scalar: &[u8]) -> Result<Self> {
        let private = PrivateKey::from_private_key(&X25519, scalar)
            .map_err(|_| invalid("an X25519 private key has 32 bytes"))?;
        Ok(Self { private })
    }

    #[napi(catch_unwind)]
    pub fn public_key(&self) -> Result<Buffer> {
        let public = self
            .private
            .compute_public_key()
            .map_err(|_| failed("no public key"))?;
        Ok(public.as_ref().into())
    }

    /// The 32-byte shared secret, or null: a key of another length, or an all-zero result.
    #[napi(catch_unwind)]
    pub fn dh(&self, peer_public_key: &[u8]) -> Option<Buffer> {
        self.with_shared(peer_public_key, |shared| Ok(shared.into()))
            .ok()
    }

    #[napi(catch_unwind)]
    pub fn export_private(&self) -> Result<Buffer> {
        let scalar: Curve25519SeedBin<'_> = self
            .private
            .as_be_bytes()
            .map_err(|_| failed("no private key"))?;
        Ok(scalar.as_ref().into())
    }
}

impl X25519Key {
    /// Hands the shared secret to `then`; an error when it is all zero, which AWS-LC refuses to give out.
    pub(crate) fn with_shared<T>(
        &self,
        peer_public_key: &[u8],
        then: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let peer = UnparsedPublicKey::new(&X25519, peer_public_key);
        agree(
            &self.private,
            peer,
            invalid("no usable shared secret"),
            then,
        )
    }
}
