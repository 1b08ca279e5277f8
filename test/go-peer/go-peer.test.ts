/** A peer that knows of us only protocol/README.md, its schema and its vectors: see driver.ts. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Entry } from '../../certs-dev/index.ts';
import { GATEWAY_B, HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { describeWith } from '../support/requirements.ts';
import { BUILD_MS, buildGoPeer, GoPeer } from './driver.ts';

const VECTORS = fileURLToPath(new URL('../../protocol/vectors/session', import.meta.url));
const WEB = `6:${HOST}/32:${PORTS.granted}`;
const CONSOLE = `6:${HOST}/32:${PORTS.management}`;
const GREETING = `hello ${PORTS.granted}\n`;

describeWith(['go'], 'a second implementation, from the specification alone', () => {
  let binary = '';
  beforeAll(async () => {
    binary = await buildGoPeer();
  }, BUILD_MS);

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

    const open = (changes: object = {}): Promise<unknown> =>
      go.ask('open', {
        socket: operator.socketPath,
        address: '10.77.0.2:7843',
        gatewayId: GATEWAY_B,
        type: 'OPERATOR',
        targets: [WEB],
        level: 5,
        ...changes,
      });

    test('an operator session opens', async () => {
      console.log(await open());
      console.log(await go.ask('stream', { target: WEB, window: 262_144 }));
      console.log(await go.ask('read', { bytes: GREETING.length }));
      console.log(await go.ask('echo', { bytes: 4_000_000 }));
      console.log(await go.ask('echo', { bytes: 4_000_000, reattest: true }));
      console.log(await go.ask('finish'));
      console.log(await go.ask('describe'));
    });
  });
});
