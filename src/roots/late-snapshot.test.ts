/** A lockdown whose gateway died in its midst, as the next run finds it: in the journal and in the spool. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseArtifact, sessionIdBytes } from '../../protocol/evidence/index.ts';
import { type Artifact, Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { type MemoryGateway, startMemoryGateway } from '../../test/support/memory-gateway.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { silentLogger } from '../base/logger.ts';
import { createMemoryDataPlane, MemoryWire } from '../dataplane/memory/index.ts';
import type { JournalRecord } from '../posture/journal.ts';
import type { OpenedPosture } from '../posture/store.ts';
import { SNAPSHOT_STEP } from './forensic-capture.ts';

const CHANGE = 77n;

let folder: string;
let sites: MemorySites;
let runs = 0;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shellstream-late-'));
  sites = await MemorySites.connected({ evidenceOf: (name) => place(name) });
});

afterEach(async () => {
  await sites[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('has its snapshot, marked as late, with the sessions that stood, before they are compensated; and only once', async () => {
  const [session] = sites.b.gateway.directory.all.map(({ admission }) => admission.id);
  const dead = diskOfB();
  const journal: JournalRecord[] = [];
  const first = await bodies(dead, { lockdownsWithout: () => [CHANGE], cutOffAt: 1, journal });
  const kinds = first.map(({ case: kind }) => kind);
  expect(kinds.indexOf('forensicSnapshot')).toBeLessThan(first.findIndex(isCompensation));
  expect(ofKind(first, 'forensicSnapshot')).toMatchObject([{ late: true, changeEpoch: CHANGE, sessions: 1 }]);
  const told = ofKind(first, 'snapshotPart').flatMap(({ sessions }) => sessions);
  expect(told).toMatchObject([{ sessionId: sessionIdBytes(session ?? ''), peerId: 'spiffe://a.test/gateway' }]);
  expect(journal).toContainEqual({ kind: 'step', epoch: CHANGE, step: SNAPSHOT_STEP, outcome: 'taken' });
  // Though the journal does not say so: the spool does.
  const second = await bodies(dead, { lockdownsWithout: () => [CHANGE], journal });
  expect(ofKind(second, 'forensicSnapshot')).toHaveLength(1);
});

test('in the kernel, by another program, while nobody was there to write it down: so has that', async () => {
  const found = await bodies(diskOfB(), { lastLevel: 5, isLocked: true });
  expect(ofKind(found, 'forensicSnapshot')[0]).toMatchObject({ late: true, changeEpoch: 0n, sessions: 1 });
});

test('where no lockdown was cut off there is none', async () => {
  const found = await bodies(diskOfB(), { lockdownsWithout: () => [], lastLevel: 5 });
  expect(ofKind(found, 'forensicSnapshot')).toEqual([]);
  expect(found.some(isCompensation)).toBe(true);
});

/** As a SIGKILL leaves it. */
function diskOfB(): string {
  runs += 1;
  const copy = join(folder, `dead-${runs}`);
  cpSync(join(folder, 'b'), copy, { recursive: true });
  return copy;
}

interface Left {
  readonly lockdownsWithout?: () => readonly bigint[];
  readonly lastLevel?: 5;
  readonly cutOffAt?: 1;
  readonly isLocked?: boolean;
  readonly journal?: JournalRecord[];
}

/** What is in the log after the next run began, in its order. */
async function bodies(directory: string, { journal = [], isLocked = false, ...left }: Left) {
  const { clock, b } = sites;
  const dataplane = createMemoryDataPlane({ clock, wire: new MemoryWire(), host: '192.0.2.2' });
  if (isLocked) await dataplane.flows.setPosture(1);
  const posture: OpenedPosture = {
    store: { save: async () => {} },
    journal: { write: async (record) => void journal.push(record) },
    kept: undefined,
    isSameBoot: true,
    ...left,
  };
  const evidence = { ...place('b'), directory };
  let gateway: MemoryGateway | undefined;
  const carrier = sites.internet.host('192.0.2.22');
  const starting = startMemoryGateway({ ...b.world, dataplane, posture, evidence, carrier, log: silentLogger });
  void starting.then((started) => (gateway = started));
  await sites.until('the next run', () => gateway !== undefined);
  const { spool } = gateway?.evidence?.store ?? {};
  const rows = [...(spool?.reader.entries(0, 1_000) ?? []), ...(spool?.reader.leftOut(0, 1_000) ?? [])];
  const found = rows.flatMap(({ opening }) => (opening === undefined ? [] : [parseArtifact(opening.record).body]));
  let isOver = false;
  void gateway?.[Symbol.asyncDispose]().then(() => (isOver = true));
  await sites.until('its end', () => isOver);
  return found;
}

function place(name: string) {
  const directory = join(folder, name);
  const keys = [join(folder, `${name}.key`)];
  return { directory, origin: `${name}.test/log`, keys, budgetBytes: 64 << 20, retentionDays: 90 };
}

type Body = Artifact['body'];

function ofKind<K extends NonNullable<Body['case']>>(all: readonly Body[], kind: K) {
  return all.flatMap((body) => (body.case === kind ? [body.value as Extract<Body, { case: K }>['value']] : []));
}

function isCompensation(body: Body): boolean {
  return body.case === 'sessionTransit' && body.value.phase === Phase.COMPENSATION;
}
