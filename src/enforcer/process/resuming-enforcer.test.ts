/** A terminator that outlives enforcers: what happened while none was there, and what is asked of none. */
import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { reasonOf } from '../../../protocol/errors.ts';
import * as words from '../../../test/support/enforcer-words.ts';
import { SimulatedClock } from '../../base/simulated-clock.ts';
import { memoryLinkPair } from '../../link/index.ts';
import type { Admission, Enforcer, SessionId } from '../ports.ts';
import { decodeToEnforcer } from './messages.ts';
import { RemoteEnforcer } from './remote-enforcer.ts';
import { RemoteTerminator } from './remote-terminator.ts';
import { ResumingEnforcer } from './resuming-enforcer.ts';
import { MAX_RELEASED } from './session-end.ts';

const clock = new SimulatedClock();
const START = {
  listen: { address: '::', port: 1 },
  limits: '{}',
  accord: Uint8Array.of(1),
  posture: { level: 5, epoch: 1n },
} as const;
const [ADMISSION = expect.fail()] = fc.sample(words.admission, { numRuns: 1, seed: 1 });
const [ACCEPT = expect.fail()] = fc.sample(words.acceptInput, { numRuns: 1, seed: 1 });
const [APPROACH = expect.fail()] = fc.sample(words.approachInput, { numRuns: 1, seed: 1 });

it('tells the next enforcer of all that ended and all that changed, in as few questions as it takes', async () => {
  const resuming = new ResumingEnforcer();
  const ids = Array.from({ length: 3 * MAX_RELEASED }, (_, at) => at.toString(16).padStart(32, '0'));
  const former = enforcer();
  resuming.follow(former.line);
  for (const id of ids) {
    former.admits({ ...ADMISSION, id, resumeToken: new Uint8Array(32) });
    await resuming.accept(ACCEPT);
  }
  resuming.lost(former.line);
  const [ended, changed, gone] = [ids.slice(2), ids.slice(0, 1), ids.slice(1, 2)];
  for (const id of ended) await resuming.release(id, 'EXPIRED', true);
  for (const id of changed) await resuming.setPeerLevel(id, 2);

  const next = enforcer((all) => all.filter((id) => !gone.includes(id)));
  expect(await resuming.resume(next.line)).toEqual(gone);
  expect(next.released).toEqual(ended.map((id) => [id, 'EXPIRED', true, undefined]));
  expect(next.levels).toEqual(changed.map((id) => [id, 2]));
  expect(next.asked.filter((kind) => kind === 'release')).toHaveLength(3);
});

it('asks nothing of an enforcer that is away: a renewal is put off, and an attestation fails', async () => {
  const resuming = new ResumingEnforcer();
  expect(await resuming.mayRenew('a'.repeat(32)).catch(reasonOf)).toBe('CONNECTION_LOST');
  expect(await resuming.approach(APPROACH).catch(reasonOf)).toBe('CONNECTION_LOST');
});

/** One that has all that is claimed stand, unless told otherwise, and what it hears. */
function enforcer(resume: (sessions: readonly SessionId[]) => readonly SessionId[] = (all) => all) {
  const links = memoryLinkPair({ clock });
  const released: unknown[][] = [];
  const levels: unknown[][] = [];
  let admission: Admission = ADMISSION;
  const said: Partial<Enforcer> = {
    accept: async () => admission,
    release: async (...given) => void released.push(given),
    setPeerLevel: async (...given) => void levels.push(given),
  };
  const onLost = (): void => undefined;
  const send = vi.spyOn(links.initiator, 'send');
  new RemoteTerminator({
    link: links.responder,
    clock,
    enforcer: said as Enforcer,
    start: START,
    resume: (claims) => resume(claims.map(({ session }) => session)),
    onLost,
  });
  return {
    line: new RemoteEnforcer({ link: links.initiator, clock, onLost }),
    released,
    levels,
    admits: (given: Admission) => {
      admission = given;
    },
    get asked() {
      return send.mock.calls.map(([record]) => decodeToEnforcer(record).body.case);
    },
  };
}
