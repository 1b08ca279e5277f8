/** The reverse direction: `shellstream connect` opens sessions with a responder in Go. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Entry } from '../../certs-dev/index.ts';
import { listeningPort } from '../lab/answers.ts';
import { GRANTED_TARGET, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { eventually } from '../support/eventually.ts';
import type { Running } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { BUILD_MS, buildGoPeer, type Description, type GoEvent, GoPeer } from './driver.ts';

const ADDRESS = '10.77.0.2:7950';

describeWith(['go'], 'a responder in Go', () => {
  let binary = '';
  beforeAll(async () => {
    binary = await buildGoPeer();
  }, BUILD_MS);

  labSuite('in place of a gateway', { start: false }, (lab) => {
    let go: GoPeer;
    let responder: Entry;
    let operator: Entry;

    beforeAll(async () => {
      const { a, b } = lab();
      responder = await b.person({ path: '/go', tier: 'master' });
      operator = await a.person({ path: '/people/someone', tier: 'journeyman' });
      go = new GoPeer(binary, b.namespace);
    });
    afterAll(() => go[Symbol.asyncDispose]());

    const serve = (changes: object = {}): Promise<unknown> =>
      go.ask('serve', { socket: responder.socketPath, address: ADDRESS, lifetimeMs: 60_000, ...changes });
    const connect = (id = responder.spiffeId): Running =>
      lab().a.startConnect(operator, '--gateway', ADDRESS, '--gateway-id', id, ...GRANTED_TARGET, '--json');
    const portOf = async (session: Running): Promise<number> => listeningPort(await session.line(/"listening"/));
    const wait = (event: string): Promise<GoEvent> => go.ask('wait', { event });

    test('carries the streams of shellstream connect, attests it again under them, and is told the end', async () => {
      const { a } = lab();
      await serve({ lifetimeMs: 8_000 });
      await using session = connect();
      expect(await go.ask<Description>('accepted')).toMatchObject({ peer: operator.spiffeId, generation: 1 });
      const port = await portOf(session);
      await using stream = a.inside('nc', ['127.0.0.1', String(port)]);
      await stream.line(/^hello/);
      const script = `head -c 3000000 /dev/zero | nc -N 127.0.0.1 ${port} | tail -c 3000000 | sha256sum`;
      const zeros = 'head -c 3000000 /dev/zero | sha256sum';
      expect((await a.run('sh', '-c', script)).stdout).toBe((await a.run('sh', '-c', zeros)).stdout);
      expect(await wait('reattested')).toMatchObject({ generation: 2 });
      stream.write('after the keys changed\n');
      await stream.line(/^after the keys changed$/);
      session.kill('SIGINT');
      expect(await wait('CLOSE')).toMatchObject({ reason: 600 });
    });

    test('drains it: DRAINED is answered, CLOSE ends it', async () => {
      await serve();
      await using session = connect();
      await go.ask('accepted');
      await portOf(session);
      await go.ask('drain', { reason: 605, deadlineMs: 10_000 });
      await wait('DRAINED');
      expect((await session.finished).code).toBe(1);
    });

    test('is left when it answers one record of a re-attestation twice', async () => {
      await serve({ lifetimeMs: 4_000 });
      await using session = connect();
      await go.ask('accepted');
      await go.ask('repeatInner');
      expect(await wait('CLOSE')).toMatchObject({ reason: 101 });
      expect((await session.finished).stderr).toContain('"error":"UNEXPECTED_RECORD"');
    });

    test.each([
      ['a signature over another hash', 'SVID_SIGNATURE'],
      ['a grant wider than the request', 'UNEXPECTED_RECORD'],
    ])('is refused with %s', async (wrong, error) => {
      await serve({ wrong });
      await using session = connect();
      const { code, stderr } = await session.finished;
      expect(code).toBe(1);
      expect(stderr).toContain(`"error":"${error}"`);
    });

    test('gets no token when it is not the one that is meant', async () => {
      await serve();
      await using session = connect('spiffe://site-b.test/gateway');
      expect((await session.finished).code).toBe(1);
      expect(await go.ask('refused')).toMatchObject({ error: expect.stringContaining('607') });
    });

    test('is what the greeting of the target comes through', async () => {
      await serve();
      await using session = connect();
      await go.ask('accepted');
      const port = await portOf(session);
      const greeting = await eventually('the greeting', () => lab().a.greeting('127.0.0.1', port));
      expect(greeting).toBe(`hello ${PORTS.granted}`);
    });
  });
});
