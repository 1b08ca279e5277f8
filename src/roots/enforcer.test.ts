/** Terminators that come and go at one enforcer, in memory: nothing that one of them had stays behind. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { MANAGEMENT, NOTHING } from '../../test/support/memory-nodes.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import type { LocalEnforcer } from '../enforcer/enforcer.ts';
import type { AdmitInput } from '../enforcer/ports.ts';

let sites: MemorySites;

beforeEach(async () => {
  sites = await MemorySites.connected();
});
afterEach(() => sites[Symbol.asyncDispose]());

it('one that opens a session before it is ready, and never is, leaves nothing of it', async () => {
  const { b } = sites;
  const before = b.gateway.directory.size;
  const refused = b.gateway.hire(async (door) => {
    using _ = throughDoor(b.gateway.enforcer, door);
    await sites.visitor('management', [MANAGEMENT]);
    expect(b.gateway.directory.size).toBe(before + 1);
    throw new ShellstreamError('OVERLOADED', 'it never listened');
  });
  expect(await refused.catch(reasonOf)).toBe('OVERLOADED');
  expect(b.gateway.directory.size).toBe(before);
});

it('one that is let go takes its sessions with it, to the last object in the data plane', async () => {
  const { b } = sites;
  expect(b.gateway.directory.size).toBe(1);
  await b.gateway.enforcer.releaseAll('CONNECTION_LOST');
  expect(b.gateway.directory.size).toBe(0);
  await sites.until('nothing in the data plane', async () => {
    const left = await b.footprint();
    return JSON.stringify(left) === JSON.stringify(NOTHING);
  });
});

/** What the first terminator asks for is asked by way of the second, as if the second had the connections. */
function throughDoor(first: LocalEnforcer, second: LocalEnforcer): Disposable {
  const [challenge, admit] = [first.challenge, first.admit];
  first.challenge = (input) => second.challenge(input);
  first.admit = (input: AdmitInput) => second.admit(input);
  return { [Symbol.dispose]: () => void Object.assign(first, { challenge, admit }) };
}
