/** The socket at which terminators that something else started are let in: by their user alone, and out again with all they had. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { TakenOver } from '../../test/support/taken-over.ts';
import { dialFramed } from '../link/index.ts';
import { admitTerminators, type DoorOptions } from './terminator-host.ts';

let sites: MemorySites;
let folder: string;
let door: AsyncDisposable | undefined;

beforeEach(async () => {
  sites = await MemorySites.connected();
  folder = mkdtempSync(join(tmpdir(), 'shs-door-'));
});
afterEach(async () => {
  await door?.[Symbol.asyncDispose]();
  await sites[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const open = async (credentialsOf: DoorOptions['credentialsOf']): Promise<string> => {
  const path = join(folder, 'run', 'terminators.sock');
  door = await admitTerminators(sites.b.gateway, { path, uid: 61_500, gid: process.getgid?.() ?? 0, credentialsOf });
  return path;
};

it.each([
  ['another user', () => ({ uid: 0, pid: 1 })],
  [
    'nobody knows whom',
    () => {
      throw new Error('no credentials');
    },
  ],
])('attack: a process of %s is cut off before it hears a word', async (_, credentialsOf) => {
  const path = await open(credentialsOf);
  const heard: Buffer[] = [];
  const socket = connect(path);
  socket.on('data', (chunk) => heard.push(chunk));
  await new Promise((resolve) => socket.once('close', resolve));
  expect(Buffer.concat(heard)).toHaveLength(0);
  expect(sites.b.gateway.terminators.count).toBe(1);
});

it('a terminator of the right user is told what it needs, counts when it listens, and is forgotten when it goes', async () => {
  const path = await open(() => ({ uid: 61_500, pid: 1 }));
  const inside = new TakenOver(await dialFramed(path, { clock: sites.clock, maxRecordBytes: 1_048_576 }));
  await eventually('the start', () => inside.heard[0]?.body.case === 'start');
  expect(sites.b.gateway.terminators.count).toBe(1);
  inside.say(0, { case: 'listening', value: { port: 7_843 } });
  await eventually('a second terminator', () => sites.b.gateway.terminators.count === 2);
  inside.close();
  await eventually('the first alone', () => sites.b.gateway.terminators.count === 1);
});

it('one that never says that it listens is cut off, and counts at no time', async () => {
  const path = await open(() => ({ uid: 61_500, pid: 1 }));
  const inside = new TakenOver(await dialFramed(path, { clock: sites.clock, maxRecordBytes: 1_048_576 }));
  await eventually('the start', () => inside.heard[0]?.body.case === 'start');
  await sites.clock.advance(30_000);
  await eventually('its end', () => inside.isCutOff);
  expect(sites.b.gateway.terminators.count).toBe(1);
});

it('one that stops answering is cut off at the next heartbeat', async () => {
  const path = await open(() => ({ uid: 61_500, pid: 1 }));
  const inside = new TakenOver(await dialFramed(path, { clock: sites.clock, maxRecordBytes: 1_048_576 }));
  await eventually('the start', () => inside.heard[0]?.body.case === 'start');
  inside.say(0, { case: 'listening', value: { port: 7_843 } });
  await eventually('a second terminator', () => sites.b.gateway.terminators.count === 2);
  await eventually('its end', async () => {
    await sites.clock.advance(1_000);
    return inside.isCutOff;
  });
  expect(inside.heard.map(({ body }) => body.case)).toContain('tellLoad');
  await eventually('the first alone', () => sites.b.gateway.terminators.count === 1);
});
