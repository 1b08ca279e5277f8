/** Re-attestation of live sessions, between two whole gateways on one simulated clock. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Target } from '../../protocol/capability/index.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { type LoopbackEcho, loopbackEcho } from '../../test/support/loopback-echo.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { AgentUnavailable } from '../identity/source.ts';

let sites: MemorySites;
let echo: LoopbackEcho;
let target: Target;

beforeEach(async () => {
  sites = await MemorySites.connected();
  echo = await loopbackEcho();
  target = echo.target;
});
afterEach(async () => {
  await sites[Symbol.asyncDispose]();
  echo[Symbol.dispose]();
});

describe('re-attestation', () => {
  it('changes keys with data in flight both ways, and loses not one byte', async () => {
    const visitor = await sites.visitor('management', [target]);
    const stream = await visitor.session.streams.open(target);
    const echoed: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => echoed.push(bytes));
    const sent: Buffer[] = [];
    const send = (): void => {
      const bytes = Buffer.alloc(1 + ((sent.length * 7_919) % 20_000), sent.length);
      sent.push(bytes);
      stream.write(bytes);
    };
    for (const level of [3, 5, 3, 5, 3] as const) {
      const rounds = visitor.heard.filter((what) => what === 'attested again').length;
      const attestations = rounds + (level === 3 ? 1 : 0);
      void say('b', level);
      await sites.until(
        'attested again',
        () => {
          send();
          if (visitor.session.effectiveLevel !== level) return false;
          return visitor.heard.filter((what) => what === 'attested again').length >= attestations;
        },
        1,
      );
      for (let i = 0; i < 20; i++) send();
    }
    const whole = Buffer.concat(sent);
    await sites.until('everything came back', () => Buffer.concat(echoed).length === whole.length, 1);
    expect(Buffer.compare(Buffer.concat(echoed), whole)).toBe(0);
    expect(visitor.heard.filter((what) => what === 'attested again')).toHaveLength(3);
    expect(visitor.session.state).toBe('active');
  });

  it('comes by itself before the session expires, again and again', async () => {
    const id = sites.b.session.id;
    for (let minutes = 0; minutes < 9; minutes += 3) {
      await sites.clock.advance(180_000);
      sites.a.source.refresh();
      sites.b.source.refresh();
    }
    await sites.until('still there', () => sites.b.gateway.registry.size === 1);
    expect(sites.b.ends).toEqual([]);
    expect(sites.b.session.id).toBe(id);
    expect(sites.b.session.admission.tunnelGeneration).toBeGreaterThan(3);
    expect(await sites.b.footprint()).toMatchObject({ sessions: 1, peers: 1, policies: 2 });
  });

  it('follows a rotation of the initiator’s SVID at once', async () => {
    sites.a.entry.rotate();
    sites.a.source.refresh();
    await sites.until('attested again', () => sites.b.session.admission.tunnelGeneration === 2);
  });

  it('attack: by another identity ends the session with IDENTITY_CHANGED', async () => {
    const [visitor, other] = [
      await sites.visitor('management', [target]),
      await sites.visitor('management', [target], '/other'),
    ];
    visitor.source.fetchSat = (...args) => other.source.fetchSat(...args);
    visitor.source.replaceIdentity(other.source.current());
    visitor.session.identityRotated();
    await sites.until('ended', () => visitor.session.state === 'ended');
    expect(visitor.heard).toEqual(['end IDENTITY_CHANGED']);
    expect(other.session.state).toBe('active');
  });

  it('attack: of a responder that is another now ends the session', async () => {
    const other = await sites.visitor('management', [target], '/other');
    sites.internet.isUp = false;
    sites.b.source.replaceIdentity(other.source.current());
    sites.a.session.identityRotated();
    await sites.until('ended', () => sites.a.gateway.registry.size === 0);
    expect(sites.a.ends).toEqual(['WRONG_IDENTITY']);
  });

  it('that does not come to an end in 25 s ends the session at both ends', async () => {
    sites.internet.isUp = false;
    sites.b.source.validateSat = () => new Promise(() => undefined);
    await say('b', 3);
    await sites.clock.advance(25_500);
    expect([sites.a.ends, sites.b.ends]).toEqual([['HANDSHAKE_TIMEOUT'], ['HANDSHAKE_TIMEOUT']]);
    await sites.untilNothingStands();
  });

  it('attack: a tightening that overtakes it is not undone by the level it was signed with', async () => {
    const confirmed = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const { validateSat } = sites.b.source;
    sites.b.source.validateSat = async (...args) => {
      asked.resolve();
      await confirmed.promise;
      return await validateSat(...args);
    };
    const written: PostureLevel[] = [];
    const setPeerLevel = sites.b.dataplane.flows.setPeerLevel.bind(sites.b.dataplane.flows);
    sites.b.dataplane.flows.setPeerLevel = async (slot, level) => {
      written.push(level);
      await setPeerLevel(slot, level);
    };
    await say('b', 3);
    await asked.promise;
    await say('a', 2);
    await sites.until('told', () => sites.b.session.peerLevel === 2);
    confirmed.resolve();
    await sites.until('attested again', () => sites.b.session.admission.tunnelGeneration === 2);
    expect([sites.b.session.peerLevel, sites.b.session.effectiveLevel, written.at(-1)]).toEqual([2, 2, 2]);
  });

  it('waits 20 s for an issuer that is busy with a thousand others', async () => {
    await calmAtThree();
    const waits = issuerHangs();
    sites.internet.isUp = false;
    sites.a.session.identityRotated();
    await sites.until('ended', () => sites.b.ends.length > 0);
    expect([waits, sites.b.ends]).toEqual([[20_000], ['SAT_UNVERIFIABLE']]);
  });

  it('is not begun while the agent is away: the session stands on what it has, and attests again when it is back', async () => {
    const agent = agentIsGone('a', 'fetchSat');
    await sites.clock.advance(240_000);
    expect([agent.asked > 3, sites.b.session.admission.tunnelGeneration, sites.b.ends]).toEqual([true, 1, []]);
    agent.comesBack();
    await sites.clock.advance(10_000);
    await sites.until('attested again', () => sites.b.session.admission.tunnelGeneration === 2);
    expect([sites.a.ends, sites.b.ends]).toEqual([[], []]);
  });

  it('is never begun when the agent stays away: the session ends when what it stands on does, and not later', async () => {
    agentIsGone('a', 'fetchSat');
    sites.internet.isUp = false;
    const { expiresAt } = sites.a.session.admission;
    await sites.clock.advance(expiresAt - sites.clock.now() - 1_000);
    expect(sites.a.ends).toEqual([]);
    await sites.clock.advance(1_000);
    expect(sites.a.ends).toEqual(['EXPIRED']);
    await sites.untilNothingStands();
  });

  it('that was put off begins at once when a rotation brings what it needs', async () => {
    const agent = agentIsGone('a', 'fetchSat');
    sites.a.session.identityRotated();
    await sites.clock.advance(60_000);
    agent.comesBack();
    sites.a.session.identityRotated();
    await sites.until('attested again', () => sites.b.session.admission.tunnelGeneration === 2);
    expect(sites.clock.monotonic() - agent.leftAtMs).toBeLessThan(61_000);
  });

  it('that was put off ends with its session, and asks no more', async () => {
    const asked = mayNotRenew('SAT_UNVERIFIABLE');
    sites.internet.isUp = false;
    const { session } = sites.a;
    session.identityRotated();
    await sites.until('asked twice', () => asked.count === 2);
    session.end('CLOSED');
    session.identityRotated();
    await sites.clock.advance(60_000);
    expect([asked.count, sites.a.ends]).toEqual([2, ['CLOSED']]);
  });

  it('is put off while the enforcer is away, too', async () => {
    const asked = mayNotRenew('CONNECTION_LOST');
    sites.a.session.identityRotated();
    await sites.until('asked twice', () => asked.count === 2);
    asked.comesBack();
    await sites.until('attested again', () => sites.b.session.admission.tunnelGeneration === 2);
  });

  it('is not put off where the enforcer knows of no such session: it ends', async () => {
    mayNotRenew('EXPIRED');
    sites.internet.isUp = false;
    sites.a.session.identityRotated();
    await sites.until('ended', () => sites.a.ends.length > 0);
    expect(sites.a.ends).toEqual(['EXPIRED']);
  });

  const GONE_MIDWAY = [
    ['initiator’s agent has a token, but no server behind it to mint one for this very handshake', 'a', 'fetchSat'],
    ['responder’s agent restarts', 'b', 'validateSat'],
  ] as const;

  it.each(GONE_MIDWAY)('that was begun waits while the %s', async (_, name, call) => {
    await calmAtThree();
    const agent = agentIsGone(name, call, { audience: /#/ });
    sites.a.session.identityRotated();
    await sites.until('asked again and again', () => agent.asked > 5);
    agent.comesBack();
    await sites.until('attested again', () => sites.b.session.admission.tunnelGeneration === 3);
    expect([sites.a.ends, sites.b.ends]).toEqual([[], []]);
  });

  it.each(GONE_MIDWAY)('ends the session after 20 s of it: the %s', async (_, name, call) => {
    await calmAtThree();
    const agent = agentIsGone(name, call, { audience: /#/ });
    sites.internet.isUp = false;
    sites.a.session.identityRotated();
    await sites.until('ended', () => sites[name].ends.length > 0);
    expect(sites[name].ends).toEqual(['SAT_UNVERIFIABLE']);
    expect(Math.round((sites.clock.monotonic() - agent.leftAtMs) / 1_000)).toBe(20);
  });

  it('attack: does not wait for an agent that refuses', async () => {
    await calmAtThree();
    const agent = agentIsGone('b', 'validateSat', { error: new ShellstreamError('SAT_INVALID') });
    sites.internet.isUp = false;
    sites.a.session.identityRotated();
    await sites.until('ended', () => sites.b.ends.length > 0);
    expect([sites.b.ends, agent.asked]).toEqual([['SAT_INVALID'], 1]);
  });

  it('attack: nor does a first handshake wait for an agent: it is refused at once', async () => {
    await calmAtThree();
    const agent = agentIsGone('b', 'validateSat');
    expect(await sites.visitor('management', [target]).catch(reasonOf)).toBe('NOT_AUTHENTICATED');
    expect(agent.asked).toBe(1);
  });

  it('attack: not so a first handshake: a stranger whose issuer hangs holds it open for 5 s', async () => {
    await calmAtThree();
    const waits = issuerHangs();
    const refused = sites.visitor('management', [target]).catch(reasonOf);
    await sites.until('given up', () => waits.length > 0);
    expect([waits, await refused]).toEqual([[5_000], 'NOT_AUTHENTICATED']);
  });
});

async function calmAtThree(): Promise<void> {
  await say('b', 3);
  await sites.until('calm', () => sites.b.session.admission.tunnelGeneration === 2);
}

/** From here on site-b's issuer answers nothing. How long each token was waited for, in milliseconds, as they are given up. */
function issuerHangs(): readonly number[] {
  const waits: number[] = [];
  sites.b.source.validateSat = (_token, _audience, signal) => {
    const began = sites.clock.monotonic();
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        waits.push(sites.clock.monotonic() - began);
        reject(new ShellstreamError('SAT_UNVERIFIABLE'));
      });
    });
  };
  return waits;
}

/** From here on a site's agent answers a call, or that for such an audience, with nothing but this error, until it comes back. */
function agentIsGone(
  name: 'a' | 'b',
  call: 'fetchSat' | 'validateSat',
  { error = new AgentUnavailable('nobody listens', undefined) as Error, audience = /./ } = {},
) {
  const { source } = sites[name];
  const there = { fetchSat: source.fetchSat.bind(source), validateSat: source.validateSat.bind(source) };
  const agent = {
    asked: 0,
    leftAtMs: sites.clock.monotonic(),
    comesBack: () => void Object.assign(source, { [call]: there[call] }),
  };
  const nothing = <T>(asked: string, answer: () => T): T | Promise<never> => {
    if (!audience.test(asked)) return answer();
    agent.asked += 1;
    return Promise.reject(error);
  };
  const gone: Pick<typeof source, typeof call> = {
    fetchSat: (asked, signal) => nothing(asked, () => there.fetchSat(asked, signal)),
    validateSat: (token, asked, signal) => nothing(asked, () => there.validateSat(token, asked, signal)),
  };
  Object.assign(source, { [call]: gone[call] });
  return agent;
}

/** From here on site-a's enforcer answers so, until it comes back. */
function mayNotRenew(reason: Reason) {
  const { enforcer } = sites.a.gateway;
  const former = enforcer.mayRenew.bind(enforcer);
  const asked = { count: 0, comesBack: () => void Object.assign(enforcer, { mayRenew: former }) };
  enforcer.mayRenew = () => {
    asked.count += 1;
    return Promise.reject(new ShellstreamError(reason));
  };
  return asked;
}

function say(name: 'a' | 'b', level: PostureLevel): Promise<void> {
  return sites[name].gateway.posture.state('console', level, 'test');
}
