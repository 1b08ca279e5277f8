import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodeCrypto } from '../base/crypto-node.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { ControlWorld } from '../control/control-world.ts';
import { NO_EVIDENCE } from '../control/evidence-desk.ts';
import { EvidenceStore } from '../evidence/evidence-store.ts';
import { consoleUse, notarisation, ORIGIN } from '../evidence/fixtures.ts';
import { FakeWorld } from './fixtures.ts';

let folder: string;
let control: ControlWorld;
let clock: SimulatedClock;
let store: EvidenceStore;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shellstream-custody-'));
  writeFileSync(
    config(),
    `apiVersion: shellstream/v1\nsite: { trustDomain: alpha.example }\nevidence: { origin: ${ORIGIN}, directory: ${place()} }\n`,
  );
  clock = new SimulatedClock();
  store = await opened();
  control = await ControlWorld.create();
  control.view.evidence = {
    ...NO_EVIDENCE,
    tend: async (act) => {
      if (act === 'trust-clock') {
        await store.trustClock();
        return { verifierKeys: [], path: '', size: 0 };
      }
      if (act !== 'back-up') {
        const verifierKeys = await store.rotateKey(act === 'begin-rotation' ? 'begin' : 'finish');
        return { verifierKeys, path: '', size: 0 };
      }
      return { verifierKeys: [], ...(await store.backUp()) };
    },
  };
  await control.start();
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('rotate-key tells the new verifier key, then only that one; both steps are a site_owner’s', async () => {
  const begun = await ask('rotate-key');
  expect(begun.out).toContain('rotate-key --finish');
  const both = verifierKeys(begun.out);
  expect(both).toHaveLength(2);
  const finished = await ask('rotate-key', '--finish', '--json');
  expect(JSON.parse(finished.out)).toEqual({ verifierKeys: both.slice(1) });
  control.caller = { uid: 1_000, gid: 0, pid: 7 };
  expect(await ask('rotate-key')).toMatchObject({ code: 1 });
});

test('attack: nobody but a site_owner says that a clock which jumped is right', async () => {
  clock.setWall(clock.now() + 1_000 * 86_400_000);
  expect(store.state.retentionHeld).toContain('1000 days ahead');
  control.caller = { uid: 1_000, gid: 0, pid: 7 };
  expect(await ask('trust-clock')).toMatchObject({ code: 1 });
  expect(store.state.retentionHeld).not.toBe('');
  control.caller = { uid: 0, gid: 0, pid: 7 };
  expect(await ask('trust-clock')).toMatchObject({ code: 0 });
  expect(store.state.retentionHeld).toBe('');
});

test('attack: a site_owner has the gateway write where only root may: the copy goes beside its own evidence alone', async () => {
  mkdirSync(join(folder, 'taken'));
  writeFileSync(join(folder, 'taken', 'file'), '');
  expect(await ask('backup', join(folder, 'taken'))).toMatchObject({ code: 1 });
  expect(readFileSync(join(folder, 'taken', 'file'), 'utf8')).toBe('');
});

test('a backup is put back when the evidence is gone, and refused when somebody kept a later checkpoint', async () => {
  const copy = join(folder, 'copy');
  const answer = await ask('backup', copy, '--json');
  const { size } = JSON.parse(answer.out);
  expect(JSON.parse(answer.out)).toEqual({ folder: copy, size: store.state.entries });
  expect(await restore(copy)).toMatchObject({ code: 1, err: expect.stringContaining('put it aside first') });
  await store.record(consoleUse);
  await store[Symbol.asyncDispose]();
  const held = join(folder, 'held');
  writeFileSync(held, readFileSync(join(place(), 'log', 'checkpoint')));
  for (const name of ['spool', 'log']) rmSync(join(place(), name), { recursive: true });
  expect(await restore(copy, '--held', held)).toMatchObject({
    code: 1,
    err: expect.stringContaining('EVIDENCE_ROLLED_BACK'),
  });
  expect(JSON.parse((await restore(copy, '--json')).out)).toEqual({ size });
  store = await opened();
  expect(store.state).toMatchObject({ problem: undefined, entries: size });
});

const config = (): string => join(folder, 'gateway.yaml');
const place = (): string => join(folder, 'evidence');
const ask = (verb: string, ...args: string[]) =>
  new FakeWorld().run('evidence', verb, '--socket', control.path, ...args);
const restore = (copy: string, ...args: string[]) =>
  new FakeWorld().run('evidence', 'restore', copy, '--config', config(), ...args);
const verifierKeys = (text: string): string[] => text.match(/\S+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+/g) ?? [];

function opened(): Promise<EvidenceStore> {
  const keys = [join(place(), 'log.key')];
  return EvidenceStore.open({
    place: { directory: place(), origin: ORIGIN, keys, budgetBytes: 8 << 20, retentionDays: 90 },
    clock,
    crypto: nodeCrypto,
    log: silentLogger,
    posture: () => ({ level: 2, epoch: 1n }),
    notarisation,
    isLive: () => false,
  });
}
