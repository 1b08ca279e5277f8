/** What the tests of control and command line share. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Timer } from '../base/clock.ts';
import type { StatusFacts } from './memory-view.ts';
import type { SessionDetail } from './ports.ts';

/** A clock that only moves when told. */
export class ManualClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<{ readonly atMs: number; readonly action: () => void }>();

  constructor(nowMs = 1_800_000_000_000) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(delayMs: number, action: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, action };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const timer of this.#timers) {
      if (timer.atMs > this.#nowMs) continue;
      this.#timers.delete(timer);
      timer.action();
    }
  }
}

/** A folder of this process's own, removed when it is disposed. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'shellstream-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export const FACTS: StatusFacts = {
  instance: 'test',
  site: 'alpha.test',
  spiffeId: 'spiffe://alpha.test/gateway',
  version: '0.1.0',
  startedAtMs: 1_799_999_000_000,
  evidence: {
    state: 'recording',
    detail: '',
    origin: 'alpha.test/shellstream/test',
    verifierKeys: ['alpha.test/shellstream/test+01020304+AQ=='],
    entries: 12,
    published: 12,
    leftOut: 30,
    openIntents: 2,
    usedBytes: 40_960,
    budgetBytes: 1_048_576,
    isReserveHeld: true,
    quorum: 1,
    witnesses: [{ name: 'witness.example/one', size: 12, problem: undefined }],
    firstEntry: 0,
    quartermaster: {
      place: 'remote',
      state: 'waiting',
      acknowledged: 12,
      behind: 0,
      behindBytes: 0,
      awaySinceMs: undefined,
      problem: '',
      forgotten: 0,
    },
    slowestCommitMs: 3,
    retentionHeld: '',
  },
  identity: {
    workloadApiConnected: true,
    detail: '',
    svidExpiresAtMs: 1_800_003_600_000,
    bundles: [
      { trustDomain: 'alpha.test', refreshedAtMs: 1_799_999_990_000, stale: false },
      { trustDomain: 'beta.test', refreshedAtMs: 1_799_990_000_000, stale: true },
    ],
  },
  tunnel: { driver: 'embedded', why: 'the kernel has no wireguard', device: 'shstest0', listenPort: 51840 },
  interfaces: [{ name: 'shstest0', ifindex: 7, kind: 'tunnel' }],
  leaseRemainingMs: 9_000,
  translations: [{ internal: '192.168.77.0/24', external: '10.1.77.0/24' }],
  forwards: [
    { from: 'beta', to: 'gamma', stands: true },
    { from: 'gamma', to: 'beta', stands: false },
  ],
  accord: { id: 'default', serial: 1, hash: '00'.repeat(32) },
};

export function session(id: string, changes: Partial<SessionDetail> = {}): SessionDetail {
  return {
    id,
    role: 'responder',
    peer: 'spiffe://beta.test/gateway',
    tier: 'master',
    type: 'mesh',
    mode: 'overlay',
    state: 'active',
    capabilities: ['OBSERVE', 'CONNECT'],
    effectiveLevel: 4,
    governedBy: 'peer',
    peerLevel: 4,
    openedAtMs: 1_799_999_940_000,
    expiresAtMs: 1_800_003_540_000,
    targets: [
      {
        prefix: { address: Uint8Array.of(10, 1, 0, 5), length: 32 },
        protocol: 6,
        port: 443,
        class: 'ordinary',
        floor: 3,
      },
    ],
    offered: [
      {
        prefix: { address: Uint8Array.of(10, 2, 0, 9), length: 32 },
        protocol: 17,
        port: 0,
        class: 'management',
        floor: 2,
      },
    ],
    counters: { packets: 12n, bytes: 34_567n, denied: 1n },
    tunnel: { handshakeAgeMs: 1_500, endpoint: '192.0.2.7:51840', receivedBytes: 2n ** 53n + 1n, sentBytes: 5n },
    streams: [
      {
        id: 1,
        target: '10.1.0.5:443',
        openedBy: 'peer',
        openedAtMs: 1_799_999_950_000,
        receivedBytes: 100n,
        sentBytes: 200n,
      },
    ],
    ...changes,
  };
}
