/** What every tunnel driver refuses, with TUNNEL_FAILED, before it asks a device: the drivers cannot differ in it. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { isIP } from 'node:net';
import type { Prefix } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatPrefix, isCanonicalPrefix } from '../../protocol/net/prefix.ts';
import { AllowedIps } from './allowed-ips.ts';
import type { TunnelPeer, TunnelSpec } from './ports.ts';

/** The least that IP promises, and the most that one packet buffer of the embedded device holds. */
const MTU_RANGE = { least: 576, most: 4000 } as const;
const KEY_LENGTH = 32;
const MOST_ALLOWED_IPS = 1024;

export function checkTunnelSpec(spec: TunnelSpec): void {
  const { name, privateKey, listenPort, mtu } = spec;
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(name)) throw tunnelFailed(`not a name for a device: ${name}`);
  if (privateKey.length !== KEY_LENGTH) throw tunnelFailed('a private key has 32 bytes');
  if (!isWithin(listenPort, 0, 65_535)) throw tunnelFailed(`not a port: ${listenPort}`);
  if (!isWithin(mtu, MTU_RANGE.least, MTU_RANGE.most)) throw tunnelFailed(`not an MTU for a tunnel: ${mtu}`);
}

/** Leftovers are found by name: an empty or odd prefix would take the devices of others. */
export function checkLeftoverPrefix(prefix: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{1,13}$/.test(prefix)) throw tunnelFailed(`too short to tell whose: "${prefix}"`);
}

export function tunnelFailed(detail: string, cause?: unknown): ShellstreamError {
  return new ShellstreamError('TUNNEL_FAILED', detail, cause === undefined ? {} : { cause });
}

/** The peers of one device: each key once, never the device's own, and no address under two keys. */
export class TunnelPeers {
  readonly #ownKey: string;
  readonly #keys = new Set<string>();
  readonly #allowedIps = new AllowedIps();

  constructor(privateKey: Uint8Array) {
    this.#ownKey = keyText(publicKeyOf(privateKey));
  }

  /** Takes key and addresses, or throws and takes nothing. */
  admit(peer: TunnelPeer): void {
    checkPeer(peer);
    const key = keyText(peer.publicKey);
    if (key === this.#ownKey) throw tunnelFailed("the peer's key is this device's own");
    if (this.#keys.has(key)) throw tunnelFailed(`peer ${key} is already there`);
    const taken = this.#allowedIps.claim(key, peer.allowedIps);
    if (taken !== undefined) throw tunnelFailed(`${formatPrefix(taken)} overlaps another peer's addresses`);
    this.#keys.add(key);
  }

  /** Idempotent. */
  release(publicKey: Uint8Array): void {
    const key = keyText(publicKey);
    this.#keys.delete(key);
    this.#allowedIps.release(key);
  }

  clear(): void {
    for (const key of this.#keys) this.#allowedIps.release(key);
    this.#keys.clear();
  }

  /** The key, as `keyText`, of the peer that owns an address. */
  ownerOf(address: Uint8Array): string | undefined {
    return this.#allowedIps.owner(address);
  }
}

export function checkPublicKeys(publicKeys: readonly Uint8Array[]): void {
  if (publicKeys.some(({ length }) => length !== KEY_LENGTH)) throw tunnelFailed('a public key has 32 bytes');
}

export function checkKeepalive(seconds: number): void {
  if (!isWithin(seconds, 0, 65_535)) throw tunnelFailed(`not a keepalive in seconds: ${seconds}`);
}

/** As `wg` prints it. */
export function keyText(publicKey: Uint8Array): string {
  return Buffer.from(publicKey).toString('base64');
}

/** Of an X25519 private key of 32 bytes. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_X25519, privateKey]);
  const publicKey = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-KEY_LENGTH);
}

/** The PKCS #8 frame (RFC 8410) before the 32 bytes of a key. */
const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');

function checkPeer(peer: TunnelPeer): void {
  checkPublicKeys([peer.publicKey]);
  if (peer.presharedKey.length !== KEY_LENGTH) throw tunnelFailed('a pre-shared key has 32 bytes');
  checkKeepalive(peer.keepalive);
  const { endpoint, allowedIps } = peer;
  if (endpoint !== undefined && (isIP(endpoint.address) === 0 || !isWithin(endpoint.port, 1, 65_535))) {
    throw tunnelFailed(`not an endpoint: ${endpoint.address} port ${endpoint.port}`);
  }
  if (allowedIps.length > MOST_ALLOWED_IPS) throw tunnelFailed(`more than ${MOST_ALLOWED_IPS} allowed IPs`);
  if (!allowedIps.every((prefix: Prefix) => isCanonicalPrefix(prefix)))
    throw tunnelFailed('an allowed IP is no prefix');
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}
