/** What a running gateway leaves for outsiders: its log as Go's own library reads it, and as `verify-log` does. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { BUILD_MS, buildGoTlog, GoTlog } from '../go-tlog/driver.ts';
import { HOST, PORTS } from '../lab/lab.ts';
import { labSuite, startBoth } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';

labSuite('evidence of a running gateway', { start: false }, (lab) => {
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
    expect(outcome?.counters?.packets).toBeGreaterThan(0n);

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
});

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
  using database = new DatabaseSync(join(site.options.directory, 'state', 'evidence', 'spool', 'evidence.db'));
  const rows = database
    .prepare('SELECT record FROM entry WHERE record IS NOT NULL UNION ALL SELECT record FROM left_out')
    .all();
  return rows
    .map(({ record }) => parseArtifact(record instanceof Uint8Array ? record : new Uint8Array()))
    .flatMap(({ body }) => (body.case === 'sessionTransit' ? [body.value] : []))
    .sort((one, other) => Number(one.transit - other.transit));
}
