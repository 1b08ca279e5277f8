/** `shellstream connect`: governed streams through a session. */
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import type { Entry } from '../../certs-dev/index.ts';
import { grantOf, listeningPort } from '../lab/answers.ts';
import { CLOSED_PORT, GRANTED_TARGET, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';
import type { Running } from '../support/processes.ts';
import { terminatorsOf } from '../support/terminators.ts';

labSuite('streams', {}, (lab) => {
  let people = 0;
  const someone = (): Promise<Entry> => lab().a.person({ path: `/people/${people++}`, tier: 'journeyman' });
  const portOf = async (session: Running): Promise<number> => listeningPort(await session.line(/"listening"/));

  test('carry ten megabytes there and back unchanged, and one end of speaking at a time', async () => {
    const { a, b, directory } = lab();
    await using session = a.startConnect(await someone(), ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const port = await portOf(session);
    const [sent, received] = [join(directory, 'sent'), join(directory, 'received')];
    const bytes = randomBytes(10_485_760);
    await writeFile(sent, bytes);
    // nc -N ends its direction after the last byte; what it then still gets went through the other one.
    const { code } = await a.run('sh', '-c', `nc -N 127.0.0.1 ${port} <${sent} >${received}`);
    expect(code).toBe(0);
    const greeting = `hello ${PORTS.granted}\n`;
    const back = await readFile(received);
    expect(back.subarray(0, greeting.length).toString()).toBe(greeting);
    expect(digest(back.subarray(greeting.length))).toBe(digest(bytes));
    await eventually('no stream left', async () => {
      using console = await b.console();
      const [operator] = await b.sessions('operator');
      return operator !== undefined && (await console.session(operator.id))?.streams.length === 0;
    });
  });

  test('many at once do not mix', async () => {
    const { a } = lab();
    await using session = a.startConnect(await someone(), ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const port = await portOf(session);
    const script = `for i in $(seq 1 20); do (echo "line $i" | nc -N 127.0.0.1 ${port} | tail -n1) & done; wait`;
    const { stdout } = await a.run('sh', '-c', script);
    const expected = Array.from({ length: 20 }, (_, i) => `line ${i + 1}`).sort();
    expect(stdout.trim().split('\n').sort()).toEqual(expected);
  });

  test('to a port where nothing listens end as refused, and the session stays', async () => {
    const { a } = lab();
    const target = ['--target', `tcp://${HOST}:${CLOSED_PORT}`];
    await using session = a.startConnect(await someone(), ...TO_SITE_B, ...target, '--json');
    const port = await portOf(session);
    expect(await a.greeting('127.0.0.1', port)).toBeUndefined();
    expect(await session.line(/not carried/)).toMatch(/TARGET_UNREACHABLE|TARGET_REFUSED|STREAM/);
    expect(session.sofar()).toMatchObject({ code: null, signal: null });
  });

  test('ping says what was granted and the round trip', async () => {
    const { a } = lab();
    const { code, stdout } = await a.connect(await someone(), ...TO_SITE_B, '--ping', '--json');
    expect(code).toBe(0);
    expect(stdout).toMatch(/"roundTripMs":[0-9.]+/);
  });

  test('end with SIGINT of the operator, and the gateway forgets the session', async () => {
    const { a, b } = lab();
    await using session = a.startConnect(await someone(), ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const { session: id } = grantOf(await session.line(/"grant"/));
    await session.line(/"listening"/);
    session.kill('SIGINT');
    expect(await session.finished).toMatchObject({ code: 0 });
    await eventually('no such session', async () => (await b.sessions()).every((left) => left.id !== id));
  });

  test('that are cut off look cut off to the target, not like the end of what was sent', async () => {
    const { a, b, services } = lab();
    await using session = a.startConnect(await someone(), ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const { session: id } = grantOf(await session.line(/"grant"/));
    await using stream = a.startClient(await portOf(session));
    await stream.line(/^hello/);
    expect(await b.shellstream('sessions', 'end', id, '--reason', 'test')).toMatchObject({ code: 0 });
    expect((await session.finished).code).toBe(1);
    expect((await stream.finished).stdout).toContain('broken ECONNRESET');
    await services.line(new RegExp(`^${PORTS.granted} broken`));
  });

  test('leave in the evidence how much they carried, and that their terminator says so; one that was killed, at least', async () => {
    const { a, b } = lab();
    await using session = a.startConnect(await someone(), ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const { session: id } = grantOf(await session.line(/"grant"/));
    const port = await portOf(session);
    await a.run('sh', '-c', `head -c 300001 /dev/zero | nc -N 127.0.0.1 ${port} >/dev/null`);
    session.kill('SIGINT');
    await session.finished;
    const down = String(300_001 + `hello ${PORTS.granted}\n`.length);
    const told = { countedBy: 'COUNTED_BY_TERMINATOR', streams: 1, receivedBytes: '300001', sentBytes: down };
    expect(await countersOf(b, id)).toEqual([told]);

    await using victim = a.startConnect(await someone(), ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const { session: cut } = grantOf(await victim.line(/"grant"/));
    const forward = await portOf(victim);
    await eventually('its service', () => a.greeting('127.0.0.1', forward));
    for (const pid of await terminatorsOf(b)) process.kill(pid, 'SIGKILL');
    expect(await countersOf(b, cut)).toMatchObject([{ countedBy: 'COUNTED_BY_TERMINATOR', incomplete: true }]);
  });
});

/** Of the record of its end. */
async function countersOf(site: Site, session: string): Promise<unknown> {
  const socket = join(dirname(site.socket), 'quartermaster.sock');
  return await eventually('the record of its end', async () => {
    const { stdout } = await site.verb('evidence', 'query', '--session', session, '--json', '--socket', socket);
    const records = stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line).artifact]));
    return records.find(({ sessionTransit }) => sessionTransit.phase === 'PHASE_OUTCOME')?.sessionTransit.counters;
  });
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
