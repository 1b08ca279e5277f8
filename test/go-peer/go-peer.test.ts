/** A peer that knows of us only protocol/README.md, its schema and its vectors: see driver.ts. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Entry } from '../../certs-dev/index.ts';
import { GATEWAY_B, HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';
import { describeWith } from '../support/requirements.ts';
import { BUILD_MS, buildGoPeer, type Description, type Echoed, type GoEvent, GoPeer, PeerFailure } from './driver.ts';

const VECTORS = fileURLToPath(new URL('../../protocol/vectors/session', import.meta.url));
/** Listens where it is started. */
const SERVICES = fileURLToPath(new URL('../lab/children/services.ts', import.meta.url));
const WEB = `6:${HOST}/32:${PORTS.granted}`;
const CONSOLE = `6:${HOST}/32:${PORTS.management}`;
const UNGRANTED = `6:${HOST}/32:${PORTS.ungranted}`;
const GREETING = `hello ${PORTS.granted}\n`;

describeWith(['go'], 'a second implementation, from the specification alone', () => {
  let binary = '';
  beforeAll(async () => {
    binary = await buildGoPeer();
  }, BUILD_MS);

  describe('the vectors of one session', () => {
    type Replayed = { checked: number; wrong: string[] | null };
    const replay = async (folder: string): Promise<Replayed> => {
      await using go = new GoPeer(binary);
      return await go.ask<Replayed>('replay', { folder });
    };

    test('every derived value is recomputed alike', async () => {
      const { checked, wrong } = await replay(VECTORS);
      expect(wrong).toBeNull();
      expect(checked).toBeGreaterThan(150);
    });

    test.each(['h2', 'signedMessage', 'boundAudience', 'proof', 'presharedKey', 'plaintext'])(
      'a changed %s is seen',
      async (field) => {
        await using folder = await temporaryFolder();
        await cp(VECTORS, folder.path, { recursive: true });
        const text = await readFile(join(VECTORS, 'mesh.json'), 'utf8');
        const end = text.indexOf('"', text.indexOf(`"${field}": "`) + field.length + 5) - 1;
        const changed = `${text.slice(0, end)}${text[end] === '0' ? '1' : '0'}${text.slice(end + 1)}`;
        await writeFile(join(folder.path, 'mesh.json'), changed);
        expect((await replay(folder.path)).wrong).not.toBeNull();
      },
    );
  });

  labSuite('with a gateway', { start: false }, (lab) => {
    let go: GoPeer;
    let operator: Entry;

    beforeAll(async () => {
      const { a, b } = lab();
      await b.start();
      operator = await a.person({ path: '/people/go', tier: 'journeyman' });
      go = new GoPeer(binary, a.namespace);
    });
    afterAll(() => go[Symbol.asyncDispose]());

    const open = (changes: object = {}): Promise<Description> =>
      go.ask('open', {
        socket: operator.socketPath,
        address: '10.77.0.2:7843',
        gatewayId: GATEWAY_B,
        type: 'OPERATOR',
        targets: [WEB],
        level: 5,
        ...changes,
      });
    const wait = (event: string): Promise<GoEvent> => go.ask('wait', { event });
    const stream = async (target = WEB): Promise<void> => void (await go.ask('stream', { target, window: 262_144 }));
    const greeted = async (): Promise<string> =>
      (await go.ask<{ text: string }>('read', { bytes: GREETING.length })).text;
    const echo = (bytes: number, changes: object = {}): Promise<Echoed> => go.ask('echo', { bytes, ...changes });
    const refusal = (attempt: Promise<unknown>): Promise<unknown> =>
      attempt.then(
        () => 'accepted',
        (error: unknown) => (error instanceof PeerFailure ? [error.told, error.reason] : error),
      );

    test('a session opens, and the grant is what was asked for', async () => {
      expect(await open({ targets: [WEB, CONSOLE] })).toMatchObject({
        capabilities: ['OBSERVE', 'CONNECT'],
        targets: [WEB, CONSOLE],
        effectiveLevel: 5,
        governedBy: 'GOVERNOR_BOTH',
        generation: 1,
      });
      const { session } = await go.ask<Description>('describe');
      expect((await lab().b.sessions('operator')).map(({ id }) => id)).toEqual([session]);
      await go.ask('ping');
      await wait('PONG');
    });

    test('a stream carries megabytes both ways by credit, and each direction ends by itself', async () => {
      await open();
      await stream();
      expect(await greeted()).toBe(GREETING);
      const { same, windows } = await echo(4_000_000);
      expect(same).toBe(true);
      expect(windows).toBeGreaterThan(10);
      expect(await go.ask('finish')).toEqual({ rest: '' });
    });

    test('a reset is answered with its own reason, and the session goes on', async () => {
      await open();
      await stream();
      expect(await go.ask('reset', { reason: 600 })).toMatchObject({ reason: 600 });
      await stream();
      expect(await greeted()).toBe(GREETING);
    });

    test('attesting again changes the keys under a running stream', async () => {
      const { session, presharedKeyHash } = await open();
      await stream();
      await greeted();
      expect(await echo(2_000_000, { reattest: true })).toMatchObject({ same: true, generation: 2 });
      expect(await echo(100_000, { reattest: true })).toMatchObject({ same: true, generation: 3 });
      expect(await go.ask('finish')).toEqual({ rest: '' });
      const now = await go.ask<Description>('describe');
      expect(now.session).toBe(session);
      expect(now.presharedKeyHash).not.toBe(presharedKeyHash);
    });

    test('attesting again for less ends the streams that are no longer granted', async () => {
      await open({ targets: [WEB, CONSOLE] });
      await stream();
      await greeted();
      await go.ask('reattest', { targets: [CONSOLE] });
      expect(await wait('reset')).toMatchObject({ reason: 314 });
      await stream(CONSOLE);
    });

    describe('when the gateway tightens', () => {
      afterEach(async () => {
        await lab().b.setPosture(5);
      });

      test('POSTURE 3 is followed by a new attestation with a bound token; at 2 DRAIN and CLOSE end the session', async () => {
        await open();
        await stream();
        await greeted();
        await lab().b.setPosture(3);
        expect(await wait('POSTURE')).toMatchObject({ level: 3 });
        expect(await wait('GRANT')).toMatchObject({ generation: 2, level: 3, fresh: true });
        expect(await echo(100_000)).toMatchObject({ same: true });
        await lab().b.setPosture(2);
        expect(await wait('DRAIN')).toMatchObject({ reason: 604, level: 2 });
        expect(await wait('CLOSE')).toMatchObject({ reason: 604 });
        expect(await refusal(open())).toEqual(['ATTEST-VERIFY', 301]);
      });

      test('at 3 a token for the plain audience is refused, the bound one is taken', async () => {
        await lab().b.setPosture(3);
        expect(await refusal(open({ wrong: 'the plain audience' }))).toEqual(['DENY', 215]);
        expect(await open()).toMatchObject({ effectiveLevel: 3, governedBy: 'GOVERNOR_RESPONDER' });
      });
    });

    test('a stream ends when the level falls below the floor of its target; the session and others stay', async () => {
      await open({ socket: lab().a.options.gateway.socketPath, type: 'MANAGEMENT', targets: [WEB, CONSOLE] });
      await stream();
      await greeted();
      await go.ask('posture', { level: 2 });
      expect(await wait('reset')).toMatchObject({ reason: 303 });
      expect(await refusal(stream())).toEqual(['STREAM_CLOSE', 303]);
      await stream(CONSOLE);
    });

    test('POSTURE of the initiator governs the session at the gateway, after a new attestation too', async () => {
      const { session } = await open();
      await go.ask('posture', { level: 3 });
      expect(await wait('GRANT')).toMatchObject({ generation: 2, level: 3, fresh: true });
      await eventually('3 at the gateway', async () => {
        const seen = (await lab().b.sessions('operator')).find(({ id }) => id === session);
        expect(seen).toMatchObject({ effectiveLevel: 3, governedBy: 'peer' });
        return true;
      });
    });

    test('a drain of the gateway lets a running stream end, takes no new one, and closes', async () => {
      const { b } = lab();
      const { session } = await open();
      await stream();
      await greeted();
      await b.shellstream('sessions', 'drain', session);
      expect(await wait('DRAIN')).toMatchObject({ reason: 605 });
      expect(await echo(100_000)).toMatchObject({ same: true });
      await go.ask('finish');
      await wait('DRAINED');
      expect(await wait('CLOSE')).toMatchObject({ reason: 605 });
    });

    test('a drain of the initiator is answered with DRAINED, and its CLOSE ends the session', async () => {
      const { session } = await open();
      await go.ask('drain', { reason: 605, deadlineMs: 10_000 });
      await wait('DRAINED');
      expect(await wait('ended')).toMatchObject({ reason: 605 });
      await eventually('no session', async () => (await lab().b.sessions()).every(({ id }) => id !== session));
    });

    describe('a mesh session', () => {
      /** The first packets wait for WireGuard's handshake, which may take longer than who sends them waits. */
      const reached = (from: Site, address: string, port: number): Promise<string> =>
        eventually(`${address} ${port}`, () => from.greeting(address, port));
      const mesh = (flippedKey: boolean, changes: object = {}): Promise<Description> =>
        open({
          socket: lab().a.options.gateway.socketPath,
          type: 'MESH',
          targets: [WEB],
          device: `gp${process.pid}`,
          inside: '10.99.0.1',
          flippedKey,
          ...changes,
        });

      test('gives WireGuard the pre-shared key through which the granted target, and only that, is reached', async () => {
        const { a } = lab();
        expect(await mesh(false)).toMatchObject({ targets: [WEB], reachable: ['10.99.0.1/32'] });
        expect(await wait('TUNNEL')).toMatchObject({ state: 'STATE_READY', generation: 1 });
        expect(await reached(a, HOST, PORTS.granted)).toBe(GREETING.trim());
        expect(await a.greeting(HOST, PORTS.ungranted)).toBeUndefined();
      });

      test('takes what it is offered in the other direction, and only that', async () => {
        const { a, b } = lab();
        await using services = a.inside(process.execPath, [SERVICES, '7000', '7001']);
        await services.line(/^serving/);
        expect(await mesh(false, { offered: ['6:10.99.0.1/32:7000'] })).toMatchObject({ targets: [WEB] });
        await wait('TUNNEL');
        expect(await reached(b, '10.99.0.1', 7000)).toBe('hello 7000');
        expect(await b.greeting('10.99.0.1', 7001)).toBeUndefined();
        await mesh(false);
        await wait('TUNNEL');
        expect(await b.greeting('10.99.0.1', 7000)).toBeUndefined();
      });

      test('is refused with an offer of what is not advertised in it', async () => {
        expect(await refusal(mesh(false, { offered: [WEB] }))).toEqual(['DENY', 314]);
      });

      test('gives it another one at each attestation, under which the tunnel is put in place again', async () => {
        const { a } = lab();
        const { presharedKeyHash } = await mesh(false);
        await wait('TUNNEL');
        await go.ask('reattest');
        expect(await wait('TUNNEL')).toMatchObject({ state: 'STATE_READY', generation: 2 });
        expect(await reached(a, HOST, PORTS.granted)).toBe(GREETING.trim());
        expect((await go.ask<Description>('describe')).presharedKeyHash).not.toBe(presharedKeyHash);
      });

      test('reaches nothing with one bit of that key changed', async () => {
        await mesh(true);
        await wait('TUNNEL');
        expect(await lab().a.greeting(HOST, PORTS.granted)).toBeUndefined();
      });

      test('is refused where the WireGuard key is not proved', async () => {
        const another = {
          type: 'MESH',
          device: `gp${process.pid}`,
          inside: '10.99.0.1',
          wrong: "another's WireGuard key",
        };
        const { socketPath } = lab().a.options.gateway;
        expect(await refusal(open({ socket: socketPath, ...another }))).toEqual(['DENY', 200]);
      });
    });

    describe('refuses', () => {
      test.each([
        ['trailing bytes in ATTEST-INIT', 'REFUSED', 100],
        ['another nonce', 'DENY', 200],
        ['another responder', 'DENY', 200],
        ['another session type', 'DENY', 200],
        ["the responder's role in the signature", 'DENY', 200],
        ['trailing bytes in ATTEST-CONFIRM', 'DENY', 100],
      ])('%s: %s %i', async (wrong, told, reason) => {
        expect(await refusal(open({ wrong }))).toEqual([told, reason]);
      });

      test('an offer in a session that is no mesh session', async () => {
        expect(await refusal(open({ offered: [WEB] }))).toEqual(['DENY', 100]);
      });

      test('a stream to a target outside the grant, and keeps the session', async () => {
        await open();
        expect(await refusal(stream(UNGRANTED))).toEqual(['STREAM_CLOSE', 314]);
        await stream();
        expect(await greeted()).toBe(GREETING);
      });

      test('a second ATTEST-CONFIRM', async () => {
        await open();
        await go.ask('repeatConfirm');
        expect(await wait('CLOSE')).toMatchObject({ reason: 101 });
      });

      test('a second ATTEST-CONFIRM of a re-attestation, under the new key', async () => {
        await open();
        await go.ask('repeatInner');
        await refusal(go.ask('reattest'));
        expect(await wait('CLOSE')).toMatchObject({ reason: 101 });
      });

      test('a record that does not open', async () => {
        await open();
        await go.ask('sendRecord', { record: Buffer.alloc(40, 16).toString('base64') });
        expect(await wait('CLOSE')).toMatchObject({ reason: 200 });
      });

      test.each([
        ['trailing bytes behind PING', [12, 0x08, 1, 0x78, 1], 100],
        ['a frame of an unknown type', [99], 101],
        ['PONG that answers nothing', [13, 0x08, 9], 101],
        ['DRAINED without a drain', [5], 101],
        ['DENY that the initiator sends', [2, 0x08, 0xc8, 1], 101],
        ['data for a stream that was never opened', [9, 0, 0, 0, 7, 1], 101],
        ['a level that does not exist', [3, 0x08, 9, 0x10, 1], 100],
      ])('%s', async (_, bytes, reason) => {
        await open();
        await go.ask('sendFrame', { frame: Buffer.from(bytes).toString('base64') });
        expect(await wait('CLOSE')).toMatchObject({ reason });
      });
    });

    test('asks no token of a gateway that is not the one it means', async () => {
      expect(await refusal(open({ gatewayId: 'spiffe://site-b.test/other' }))).toEqual(['', 200]);
    });
  });
});

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'shs-vectors-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}
