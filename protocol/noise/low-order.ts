/**
 * True for the X25519 public keys whose DH with every private key is all zero: points of order 1, 2, 4 and 8 of the
 * curve and its twist, in each encoding below 2^255. Found when a key is read, so that the refusal is the reading
 * side's answer and no later write can fail because of the peer.
 */
export function isLowOrder(publicKey: Uint8Array): boolean {
  return LOW_ORDER.some((point) => point.every((byte, i) => byte === maskTopBit(publicKey, i)));
}

/** X25519 ignores the top bit of a public key (RFC 7748, section 5). */
function maskTopBit(publicKey: Uint8Array, index: number): number | undefined {
  const byte = publicKey[index];
  return index === 31 && byte !== undefined ? byte & 0x7f : byte;
}

const P_LOW_BYTE = 0xed;

const LOW_ORDER: readonly Uint8Array[] = [
  littleEndian(0x00, 0x00, 0x00), // 0
  littleEndian(0x01, 0x00, 0x00), // 1
  // the two u of order 8
  Uint8Array.from([
    0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d,
    0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
  ]),
  Uint8Array.from([
    0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c,
    0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
  ]),
  littleEndian(P_LOW_BYTE - 1, 0xff, 0x7f), // p - 1
  littleEndian(P_LOW_BYTE, 0xff, 0x7f), // p, another 0
  littleEndian(P_LOW_BYTE + 1, 0xff, 0x7f), // p + 1, another 1
];

function littleEndian(lowest: number, middle: number, highest: number): Uint8Array {
  const bytes = new Uint8Array(32).fill(middle);
  bytes[0] = lowest;
  bytes[31] = highest;
  return bytes;
}
