/** What happens between two steps of an attestation: each was found by the model in test/models/lifecycle. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Target } from '../../protocol/capability/index.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';

let sites: MemorySites;
let host: Server;
let target: Target;

/** At level 3, where each token is confirmed by its issuer: an attestation can be held there. */
beforeEach(async () => {
  sites = await MemorySites.connected();
  await sites.b.gateway.posture.state('console', 3, 'test');
  await sites.until('the mesh attested again', () => sites.a.session.admission.tunnelGeneration === 2);
  host = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(0, '127.0.0.1');
  await once(host, 'listening');
  const address = host.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  target = { prefix: parsePrefix('127.0.0.1/32'), protocol: 6, port };
});
afterEach(async () => {
  await sites[Symbol.asyncDispose]();
  host.close();
});

describe('a renewal', () => {
  it('decided before the peer’s POSTURE came is narrowed by it all the same', async () => {
    const visitor = await sites.visitor('management', [target], '/manager', ['OBSERVE', 'CONNECT', 'EXECUTE']);
    const atB = sites.b.gateway.registry.get(visitor.session.id);
    expect(atB?.admission.grant.capabilities).toEqual(['OBSERVE', 'CONNECT', 'EXECUTE']);
    const verifier = holdVerification();
    visitor.session.identityRotated();
    await sites.until('the renewal is being verified', () => verifier.waiting === 1);
    visitor.posture.level = 2;
    visitor.posture.epoch += 1n;
    visitor.session.ownPostureChanged();
    await sites.until('POSTURE came', () => atB?.effectiveLevel === 2);
    expect(atB?.admission.grant.capabilities).toEqual(['OBSERVE', 'CONNECT']);
    verifier.release();
    await sites.until('attested again', () => visitor.heard.includes('attested again'));
    expect(atB?.effectiveLevel).toBe(2);
    expect(atB?.admission.grant.capabilities).toEqual(['OBSERVE', 'CONNECT']);
    expect(visitor.session.state).toBe('active');
  });

  it('under way when the level comes to ask for a fresh token is followed by another', async () => {
    await sites.b.gateway.posture.state('console', 5, 'test');
    const visitor = await sites.visitor('management', [target]);
    const { enforcer } = sites.b.gateway;
    const admit = enforcer.admit.bind(enforcer);
    const [asked, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    enforcer.admit = async (input) => {
      asked.resolve();
      await go.promise;
      return await admit(input);
    };
    visitor.session.identityRotated();
    await asked.promise;
    visitor.posture.level = 3;
    visitor.posture.epoch += 1n;
    visitor.session.ownPostureChanged();
    go.resolve();
    await sites.until('attested twice', () => visitor.heard.filter((what) => what === 'attested again').length === 2);
    expect(visitor.session.state).toBe('active');
  });
});

describe('an admission', () => {
  it('that ends after the node began to drain opens a session that drains', async () => {
    const waits = await sites.visitor('management', [target]);
    const stream = await waits.session.streams.open(target);
    const verifier = holdVerification();
    const late = sites.visitor('management', [target], '/late');
    await sites.until('the late one is being verified', () => verifier.waiting === 1);
    const drained = sites.b.gateway.registry.drainAll('SHUTTING_DOWN', 3_000);
    verifier.release();
    const { session, heard } = await late;
    await sites.until('told', () => heard.includes('drain SHUTTING_DOWN undefined'));
    stream.destroy();
    await sites.until('over', () => session.state === 'ended');
    await drained;
    expect(sites.b.gateway.registry.size).toBe(0);
  });

  it('whose place was taken before its session was opened ends at once', async () => {
    const { enforcer, directory } = sites.b.gateway;
    const admit = enforcer.admit.bind(enforcer);
    enforcer.admit = async (input) => {
      const admission = await admit(input);
      await directory.revoke(admission.id, 'SUPERSEDED');
      return admission;
    };
    const { session, heard } = await sites.visitor('management', [target]);
    await sites.until('over', () => session.state === 'ended');
    expect(heard).toEqual(['end SUPERSEDED']);
  });
});

/** Tokens at site-b wait to be verified, until they are released; so do those that come later. */
function holdVerification(): { readonly waiting: number; release(): void } {
  const { source } = sites.b;
  const validate = source.validateSat.bind(source);
  let held: (() => void)[] = [];
  source.validateSat = async (...args) => {
    await new Promise<void>((resolve) => held.push(resolve));
    return await validate(...args);
  };
  return {
    get waiting() {
      return held.length;
    },
    release: () => {
      for (const resolve of held) resolve();
      held = [];
    },
  };
}
