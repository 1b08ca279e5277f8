/** What the tests of Quartermaster are written with: a store in a temporary folder, entries of a log, callers. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { createClient, createRouterTransport } from '@connectrpc/connect';
import { ShellstreamError } from '../../protocol/errors.ts';
import { encodeArtifact } from '../../protocol/evidence/index.ts';
import {
  Quartermaster as QuartermasterService,
  type SubmitRequest,
  SubmitRequestSchema,
} from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import { parseSpiffeId, parseSpiffeIdPattern, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { Lane, parseSubmission, type Submission } from '../../protocol/quartermaster/index.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { mutation, ORIGIN, transit } from '../evidence/fixtures.ts';
import type { Recording } from '../evidence/index.ts';
import { type AccessRules, type Caller, callerOf } from './access.ts';
import { LocalLedger } from './local-ledger.ts';
import { createQuartermaster, type QuartermasterParts } from './service.ts';
import { Store, type StoreParts } from './store.ts';

export const GATEWAY = spiffeId('spiffe://alpha.example/shell/gateway');
export const AUDITOR = spiffeId('spiffe://alpha.example/audit/one');
export const QUARTERMASTER = spiffeId('spiffe://alpha.example/quartermaster');
export const RULES: AccessRules = {
  submitters: [{ spiffeId: GATEWAY, origin: ORIGIN }],
  readers: [
    { pattern: pattern('spiffe://alpha.example/audit/*'), tier: 'site_owner' },
    { pattern: pattern('spiffe://alpha.example/apprentice/*'), tier: 'apprentice' },
  ],
  proposers: [pattern('spiffe://alpha.example/operator/*')],
};

/** Quartermaster in a folder that goes with the test, reached without a network. */
export class Depot implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), 'shellstream-quartermaster-'));
  readonly clock = new SimulatedClock();
  readonly #open = new AsyncDisposableStack();

  store(options: Partial<StoreParts> = {}): Store {
    const path = join(this.path, 'store.db');
    return this.#open.use(Store.open({ path, budgetBytes: 64 << 20, durability: 'own', ...options }));
  }

  service(store: Store, options: Partial<QuartermasterParts> = {}) {
    const ledger = new LocalLedger(store, this.clock);
    const parts = { ledger, clock: this.clock, log: silentLogger, ...options };
    const quartermaster = this.#open.use(createQuartermaster(parts));
    return {
      ledger,
      /** A client as this identity. */
      as: (id: SpiffeId) =>
        createClient(QuartermasterService, createRouterTransport(quartermaster.routes(() => known(id)))),
      by: (caller: Caller) =>
        createClient(QuartermasterService, createRouterTransport(quartermaster.routes(() => caller))),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#open.disposeAsync();
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A transit of session `number` that happened at `atMs`, at `level`. */
export function transitEntry(number: number, level = 3, atMs = 1_800_000_000_000 + number) {
  const recording = transit(number);
  if (recording.case !== 'sessionTransit') throw new Error('a fixture that is no transit');
  return entry(level, atMs, { ...recording, value: { ...recording.value, postureLevelAtTransit: level } });
}

export function mutationEntry(number: number, atMs = 1_800_000_000_000 + number) {
  return entry(5, atMs, mutation(number));
}

export function entry(postureLevel: number, atMs: number, body: Recording) {
  const artifact = encodeArtifact({ atMs: BigInt(atMs), postureLevel, postureEpoch: 1n, body });
  return { what: { case: 'record' as const, value: { artifact, salt: new Uint8Array(16).fill(9) } } };
}

export function submitRequest(
  first: number,
  entries: MessageInitShape<typeof SubmitRequestSchema>['entries'],
  options: { readonly origin?: string; readonly lane?: Lane } = {},
): SubmitRequest {
  return create(SubmitRequestSchema, {
    origin: ORIGIN,
    lane: Lane.LOG,
    first: BigInt(first),
    entries: entries ?? [],
    ...options,
  });
}

export function submission(...args: Parameters<typeof submitRequest>): Submission {
  return parseSubmission(submitRequest(...args));
}

export function spiffeId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(`${text} is no SPIFFE ID`);
  return id;
}

function pattern(text: string) {
  const parsed = parseSpiffeIdPattern(text);
  if (parsed === undefined) throw new Error(`${text} is no pattern`);
  return parsed;
}

function known(id: SpiffeId): Caller {
  const caller = callerOf(RULES, id);
  if (caller === undefined) throw new ShellstreamError('WRONG_IDENTITY', 'a stranger');
  return caller;
}
