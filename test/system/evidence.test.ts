/** What a running gateway leaves for outsiders: its log as Go's own library reads it, and as `verify-log` does. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { RequestSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { BUILD_MS, buildGoTlog, GoTlog } from '../go-tlog/driver.ts';
import { HOST, PORTS } from '../lab/lab.ts';
import { labSuite, startBoth } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { writeNumber } from '../support/bpf-maps.ts';
import { eventually } from '../support/eventually.ts';
import { artifactsIn } from '../support/spool-records.ts';

labSuite('evidence of a running gateway', { start: false, needs: ['go'] }, (lab) => {
  let go: GoTlog;

  beforeAll(async () => {
    go = new GoTlog(await buildGoTlog());
  }, BUILD_MS);

  afterAll(async () => {
    await go[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    await lab().a.stop();
    await lab().b.stop();
  });

  test('a session’s intent and outcome are in a log that Go proves and verify-log passes; a flipped byte is named', async () => {
    const { a, b } = lab();
    await startBoth(lab());
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
    await a.stop();
    await eventually('the end at site-b', async () => (await b.sessions('mesh')).length === 0);
    await b.stop();

    const [intent, outcome] = transitsOf(b);
    expect(intent).toMatchObject({
      phase: Phase.INTENT,
      initiatorId: 'spiffe://site-a.test/gateway',
      responderId: 'spiffe://site-b.test/gateway',
    });
    expect(outcome).toMatchObject({ phase: Phase.OUTCOME, sessionId: intent?.sessionId, endedByPeer: true });
    expect(outcome?.intent).toBe(intent?.transit);
    expect(outcome?.counters[0]?.packets).toBeGreaterThan(0n);

    const key = keyOf(b);
    const answer = await go.ask('check-log', { dir: logOf(b), keys: [key] });
    expect(answer).toMatchObject({ origin: originOf(b) });
    const whole = await verifyLog(b, key);
    expect(whole).toMatchObject({ code: 0 });
    expect(JSON.parse(whole.stdout)).toMatchObject({ size: answer.size, findings: [] });

    const bundle = join(logOf(b), `tile/entries/000.p/${answer.size}`);
    const bytes = await readFile(bundle);
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    await writeFile(bundle, bytes);
    const torn = await verifyLog(b, key);
    expect(torn).toMatchObject({ code: 1 });
    expect(torn.stdout).toContain('tile/entries/000');
    expect(await go.ask('check-log', { dir: logOf(b), keys: [key] })).toHaveProperty('refused');
  });

  test('killed with sessions up: their intents are compensated at the next start, and the log is whole', async () => {
    const { a, b } = lab();
    await startBoth(lab());
    await b.kill();
    await a.stop();
    await b.start();
    await b.gateway.line(/intents of a former run/);
    await b.stop();
    expect(transitsOf(b).at(-1)).toMatchObject({ phase: Phase.COMPENSATION });
    expect(await verifyLog(b, keyOf(b))).toMatchObject({ code: 0 });
  });

  test('a lockdown leaves its snapshot, its receipt, and the order that made it; over SIGKILL, and served to anyone', async () => {
    const { a, b } = lab();
    await b.start({ evidence: { serve: `127.0.0.1:${SERVED}` } });
    await a.start();
    await Promise.all([a, b].map((site) => site.gateway.line(/"msg":"session opened"/)));
    // By another program, in the kernel: the first packet that meets it says so.
    await writeNumber(`${b.pins}/posture_level`, 0, 4);
    const met = await eventually('the level that packets met', async () => {
      await a.greeting(HOST, PORTS.granted);
      const changes = lines(await b.shellstream('evidence', 'list', '--kind', 'postureChange', '--json'));
      return changes.find(({ artifact }) => /"toLevel":4,.*"seen":/.test(JSON.stringify(artifact)));
    });
    expect(met.artifact).toMatchObject({ postureChange: { fromLevel: 5, toLevel: 4 } });
    await b.shellstream('posture', 'set', '1', '--reason', 'intrusion');
    const receipt = await eventually('the receipt', async () => {
      const last = lines(await b.shellstream('posture', 'receipts', '--json')).at(-1);
      return last !== undefined && 'level' in last && last.level === 1 ? last : undefined;
    });
    expect(receipt).toMatchObject({ nodeId: 'spiffe://site-b.test/gateway', notRealised: [], isSigned: true });
    const snapshot = await eventually('the snapshot', async () => {
      const [first] = lines(await b.shellstream('evidence', 'list', '--kind', 'forensicSnapshot', '--json'));
      return first;
    });
    expect(snapshot.artifact).toMatchObject({ forensicSnapshot: { sessions: 1, tunnels: 1, routes: 1 } });
    const passed = await exchange(
      b,
      toBinary(RequestSchema, create(RequestSchema, { ask: { case: 'status', value: {} } })),
    );
    // What passed is recorded when it has passed.
    await eventually('the orders', async () => {
      const orders = lines(await b.shellstream('evidence', 'list', '--kind', 'consoleUse', '--json'));
      expect(JSON.stringify(orders)).toContain('"verb":"setPosture"');
      expect(orders.map(({ artifact }) => artifact)).toContainEqual(
        expect.objectContaining({ postureLevel: 1, consoleUse: expect.objectContaining(passed) }),
      );
      return true;
    });
    const proven = await b.shellstream('evidence', 'show', String(snapshot.index), '--json');
    expect(JSON.parse(proven.stdout)).toMatchObject({ index: snapshot.index, kind: 'forensicSnapshot' });
    const status = JSON.parse((await b.shellstream('status', '--json')).stdout);
    expect(status.evidence).toMatchObject({ state: 'recording', detail: '', isReserveHeld: true });
    const key = keyOf(b);
    const { stdout: served } = await b.run('curl', '-s', `http://127.0.0.1:${SERVED}/checkpoint`);
    expect(served.split('\n')[0]).toBe(originOf(b));

    await b.kill();
    await b.start();
    const held = join(b.options.directory, 'held');
    await writeFile(held, served);
    await eventually('the log goes on', async () => {
      const { stdout } = await b.verb('verify-log', logOf(b), '--key', key, '--held', held, '--json');
      const { size, findings } = JSON.parse(stdout);
      expect(findings).toEqual([]);
      return size > status.evidence.entries;
    });
    await b.shellstream('posture', 'set', '5', '--reason', 'over');
  });
});

/** A request at the control socket, and what it must have left at level 1: found from the bytes alone. */
async function exchange({ socket: path }: Site, request: Uint8Array) {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(request.length);
  const socket = connect(path);
  socket.write(Buffer.concat([header, request]));
  let answer = Buffer.alloc(0);
  for await (const bytes of socket) {
    answer = Buffer.concat([answer, bytes]);
    if (answer.length >= 4 && answer.length === 4 + answer.readUInt32BE()) break;
  }
  const payload = Buffer.concat([request, answer.subarray(4)]);
  return {
    verb: 'status',
    look: true,
    frames: 2,
    payloadHash: createHash('sha256').update(payload).digest('base64'),
    frameHeaders: Buffer.concat([header, answer.subarray(0, 4)]).toString('base64'),
  };
}

/** Of site-b, in its own network. */
const SERVED = 9_844;

function lines({ stdout }: { readonly stdout: string }): { readonly index: number; readonly artifact: unknown }[] {
  return stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

const logOf = ({ options }: Site): string => join(options.directory, 'state', 'evidence', 'log');
const originOf = ({ options }: Site): string => `${options.domain.name}/shellstream/${options.instance}`;

/** As the gateway told it. */
function keyOf(site: Site): string {
  const [key] = /[^"\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+/.exec(site.log) ?? [];
  if (key === undefined) throw new Error('the gateway told no verifier key');
  return key;
}

async function verifyLog(site: Site, key: string) {
  return await site.run(process.execPath, site.program, 'verify-log', logOf(site), '--key', key, '--json');
}

/** Notarised or left out, in their order. The gateway must have stopped: the spool is its own. */
function transitsOf(site: Site) {
  return artifactsIn(join(site.options.directory, 'state', 'evidence', 'spool', 'evidence.db'))
    .flatMap(({ body }) => (body.case === 'sessionTransit' ? [body.value] : []))
    .sort((one, other) => Number(one.transit - other.transit));
}
