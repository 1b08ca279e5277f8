use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, ParsedPublicKey};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::{failed, invalid};

/// A P-256 private key that signs with ECDSA and SHA-256, signatures in DER.
#[napi]
pub struct P256Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

#[napi]
impl P256Signer {
    /// Refuses what is no P-256 key in PKCS#8.
    #[napi(factory, catch_unwind)]
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8)
            .map_err(|_| invalid("no P-256 private key in PKCS#8"))?;
        Ok(Self { key, random: SystemRandom::new() })
    }

    #[napi(catch_unwind)]
    pub fn sign(&self, message: &[u8]) -> Result<Uint8Array> {
        let signature = self.key.sign(&self.random, message).map_err(|_| failed("signing failed"))?;
        Ok(Uint8Array::from(signature.as_ref()))
    }
}

/// A P-256 public key that verifies ECDSA with SHA-256, signatures in DER. Parsed and checked to be on the curve once.
#[napi]
pub struct P256Verifier {
    key: ParsedPublicKey,
}

#[napi]
impl P256Verifier {
    /// `spki`: the subject public key info in DER.
    #[napi(factory, catch_unwind)]
    pub fn from_spki(spki: &[u8]) -> Result<Self> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki).map_err(|_| invalid("no P-256 public key"))?;
        Ok(Self { key })
    }

    #[napi(catch_unwind)]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}
