/** What the tests of evidence are written with: a node's evidence in a temporary folder, under a clock that is set. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type LogReport,
  type NoteKey,
  type NoteSigner,
  type VerifyLog,
  verifyLog,
} from '../../protocol/evidence/index.ts';
import { CountedBy, MutationKind, Phase, Tier } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { Mode, SessionType } from '../../protocol/gen/shellstream/wire/v1/wire_pb.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { nodeEd25519, noteSigner } from './ed25519.ts';
import { LogDirectory } from './log-directory.ts';
import { Publisher } from './publisher.ts';
import type { Notarisation, Recording } from './recorder.ts';
import { Spool, type SpoolParts } from './spool.ts';
import type { SpoolItem } from './spool-items.ts';
import type { Witnesses } from './witnesses.ts';

export const ORIGIN = 'alpha.example/evidence';
export const { sha256 } = nodeCrypto;
export const LOG_KEY: NoteSigner = noteSigner(sha256, ORIGIN, new Uint8Array(32).fill(1));
export const NEXT_KEY: NoteSigner = noteSigner(sha256, ORIGIN, new Uint8Array(32).fill(2));

/** REQUIREMENTS P5, as the default accord has it. */
export function notarisation(level: PostureLevel): Notarisation {
  const transitPercent = level === 5 ? 10 : level === 4 ? 50 : 100;
  return { transitPercent, anchoring: level > 2 ? 'batched' : level === 2 ? 'at-once' : 'per-record' };
}

export interface VerifyOptions extends Pick<VerifyLog, 'held' | 'minimumIndex' | 'quorum'> {
  readonly witnesses?: readonly NoteKey[];
}

/** A folder that goes with the test. */
export class EvidenceFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'shellstream-evidence-'));
  readonly spoolPath = join(this.path, 'spool', 'evidence.db');
  readonly logPath = join(this.path, 'log');

  spool(options: Partial<SpoolParts> = {}): Spool {
    return Spool.open({
      path: this.spoolPath,
      sha256,
      ed25519: nodeEd25519,
      randomBytes: nodeCrypto.randomBytes,
      origin: ORIGIN,
      signers: [LOG_KEY],
      budgetBytes: 64 << 20,
      reserveBytes: 256 << 10,
      ...options,
    });
  }

  publisher(spool: Spool, keys: readonly NoteSigner[] = [LOG_KEY], witnesses?: Witnesses): Promise<Publisher> {
    const asked = witnesses === undefined ? {} : { witnesses };
    return Publisher.open({ path: this.logPath, spool, sha256, ed25519: nodeEd25519, origin: ORIGIN, keys, ...asked });
  }

  verify({ witnesses = [], ...options }: VerifyOptions = {}): Promise<LogReport> {
    const trust = { origin: ORIGIN, keys: [LOG_KEY], witnesses };
    return verifyLog({ sha256, ed25519: nodeEd25519, source: new LogDirectory(this.logPath), trust, ...options });
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export const id = (number: number): Uint8Array => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint32(12, number);
  return bytes;
};

export function transit(number: number, phase: Phase = Phase.INTENT): Recording {
  return {
    case: 'sessionTransit',
    value: {
      phase,
      sessionId: id(number),
      accordHash: new Uint8Array(32).fill(7),
      initiatorId: 'spiffe://beta.example/shell/operator',
      responderId: 'spiffe://alpha.example/shell/gateway',
      tier: Tier.MASTER,
      sessionType: SessionType.OPERATOR,
      mode: Mode.OVERLAY,
      capabilities: [1, 2],
      targets: [{ prefix: { address: Uint8Array.of(10, 1, 2, 3), length: 32 }, protocol: 6, port: 443 }],
      expiresAtMs: 1_800_000_000_000n,
      ...(phase === Phase.INTENT
        ? {}
        : { endReason: 600, counters: [{ packets: 1_000n, bytes: 800_000n, countedBy: CountedBy.KERNEL }] }),
    },
  };
}

export function mutation(number: number, phase: Phase = Phase.INTENT): Recording {
  return {
    case: 'networkMutation',
    value: {
      phase,
      mutationId: id(number),
      accordHash: new Uint8Array(32).fill(7),
      kind: MutationKind.ROUTES_ADDED,
      routes: [{ destination: { address: Uint8Array.of(10, 9, 0, 0), length: 16 }, interface: 'shs0', table: 254 }],
    },
  };
}

export const consoleUse: Recording = {
  case: 'consoleUse',
  value: { uid: 0, pid: 1, verb: 'posture set', argumentsHash: new Uint8Array(32) },
};

/** A record for the spool itself, of any bytes. */
export function rawRecord(text: string): SpoolItem {
  return { to: 'log', record: new TextEncoder().encode(text), kind: 1, level: 3 };
}
