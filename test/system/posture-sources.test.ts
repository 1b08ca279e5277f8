/** Bascule, the accord's timers and the console beside each other, on a real gateway. */
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import type { Entry } from '../../certs-dev/index.ts';
import { Outcome } from '../../protocol/gen/shellstream/bascule/v1/bascule_pb.ts';
import type { PostureAnswer } from '../lab/answers.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { instanceName, removeTraces } from '../lab/leftovers.ts';
import { Site } from '../lab/site.ts';
import { replacePostureMap, writeNumber } from '../support/bpf-maps.ts';
import { eventually } from '../support/eventually.ts';
import type { Running } from '../support/processes.ts';

const CHILD = fileURLToPath(new URL('children/bascule.ts', import.meta.url));
const SOMEBODY = fileURLToPath(new URL('children/not-bascule.ts', import.meta.url));
const STREAM = 7_850;
const PUSH = 7_851;
const BASCULE = {
  spiffeId: 'spiffe://site-b.test/bascule',
  address: `127.0.0.1:${STREAM}`,
  push: { address: `127.0.0.1:${PUSH}` },
};

const TIMER = `timers:
  - name: audit
    level: 4
    once: { from: '2020-01-01T00:00:00Z', until: '2099-01-01T00:00:00Z' }
`;

labSuite('sources of posture', { start: false }, (lab) => {
  let entry: Entry;
  let impostor: Entry;
  /** Grows over all tests, as Bascule's does. */
  let epoch = 1;

  const posture = (): Promise<PostureAnswer> => lab().b.json<PostureAnswer>('posture', 'get');
  const mapProblems = async (): Promise<readonly string[]> =>
    (await posture()).problems.filter((text) => text.includes('posture map'));
  const level = (wanted: number): Promise<unknown> =>
    eventually(`level ${wanted} in the kernel`, async () => (await lab().b.postureInKernel())[1] === wanted);

  beforeAll(async () => {
    const { b } = lab();
    entry = await b.person({ path: '/bascule' });
    impostor = await b.person({ path: '/impostor' });
    await b.start({ posture: { leaseSeconds: 10, bascule: BASCULE } });
  });

  test('what Bascule streams and pushes is the level, in the kernel too, and who says it is told', async () => {
    await using bascule = await startBascule(lab().b, entry);
    await bascule.word({ do: 'serve', port: STREAM });
    await bascule.word({ do: 'say', level: 3, epoch: ++epoch });
    await level(3);
    const pushed = await bascule.word({ do: 'announce', port: PUSH, level: 4, epoch: ++epoch });
    expect(pushed).toBe(String(Outcome.ACCEPTED));
    await level(4);
    const { sources } = await posture();
    expect(sources).toMatchObject([{ source: 'bascule', level: 4, epoch, reason: 'Bascule says 4', governs: true }]);
    await bascule.word({ do: 'say', level: 0, epoch: ++epoch });
    await level(1);
    await bascule.word({ do: 'say', level: 5, epoch: ++epoch });
    await level(5);
  });

  test('attack: an old epoch opens nothing, neither after Bascule died nor after the gateway did', async () => {
    const { b } = lab();
    await using bascule = await startBascule(b, entry);
    await bascule.word({ do: 'announce', port: PUSH, level: 2, epoch: ++epoch });
    await level(2);
    const old = { do: 'announce', port: PUSH, level: 5, epoch: epoch - 1 } as const;
    expect(await bascule.word(old)).toBe(String(Outcome.STALE));
    await b.kill();
    await b.start({ posture: { leaseSeconds: 10, bascule: BASCULE } });
    expect(await bascule.word(old)).toBe(String(Outcome.STALE));
    expect(await posture()).toMatchObject({ effective: 2 });
  });

  test('Bascule gone leaves what it said, and is told as gone; what it says when it is back counts', async () => {
    const { b } = lab();
    const gone = await eventually('the loss', async () => {
      const { problems } = await posture();
      return problems.find((text) => text.includes('Bascule')) ?? false;
    });
    expect(gone).toContain('stands until its expiry');
    expect(await posture()).toMatchObject({ effective: 2 });
    await using bascule = await startBascule(b, entry);
    await bascule.word({ do: 'say', level: 5, epoch: ++epoch });
    await bascule.word({ do: 'serve', port: STREAM });
    await level(5);
    await eventually('no problem left', async () => (await posture()).problems.length === 0);
  });

  test.for(['silence', 'garbage'])(
    'attack: %s where Bascule was, and where it pushes: no level moves, and nothing waits for it',
    async (what) => {
      const { b } = lab();
      await using somebody = b.inside(process.execPath, [SOMEBODY, what, String(STREAM), String(PUSH)]);
      await somebody.line(/^dialled by the gateway/);
      await b.setPosture(4);
      await level(4);
      await b.setPosture(5);
      await level(5);
      expect((await posture()).sources).toMatchObject([{ source: 'bascule', level: 5, epoch }, { source: 'console' }]);
      if (what === 'garbage') {
        await somebody.line(/^cut off by the gateway/);
        await eventually('the loss', async () => (await posture()).problems.some((text) => text.includes('Bascule')));
      }
    },
  );

  test('attack: another identity of the site, at the address of Bascule and as who pushes, is not heard', async () => {
    const { b } = lab();
    await using other = await startBascule(b, impostor);
    await other.word({ do: 'say', level: 1, epoch: 1_000_000 });
    await other.word({ do: 'serve', port: STREAM });
    const refusal = await eventually('the refusal', async () => {
      return (await posture()).problems.find((text) => text.includes('WRONG_IDENTITY')) ?? false;
    });
    expect(refusal).toContain('Bascule');
    expect(await other.word({ do: 'announce', port: PUSH, level: 1, epoch: 1_000_000 })).toContain('failed');
    expect((await posture()).sources).toMatchObject([{ source: 'bascule', level: 5, epoch }, { source: 'console' }]);
  });

  test('what Bascule holds may be set aside by the console; its next word counts again', async () => {
    const { b } = lab();
    await using bascule = await startBascule(b, entry);
    await bascule.word({ do: 'announce', port: PUSH, level: 2, epoch: ++epoch });
    await level(2);
    expect((await b.shellstream('posture', 'set-aside', 'bascule', '--reason', 'test')).code).toBe(0);
    await level(5);
    await bascule.word({ do: 'announce', port: PUSH, level: 3, epoch: ++epoch });
    await level(3);
    await bascule.word({ do: 'announce', port: PUSH, level: 5, epoch: ++epoch });
    await level(5);
  });

  test('a dry run tells the fate of each session; an unconfirmed lockdown goes back by itself', async () => {
    const { b } = lab();
    const dry = await b.shellstream('posture', 'set', '1', '--reason', 'drill', '--dry-run');
    expect(dry.stdout).toContain('posture level 5 would become 1; nothing was done');
    expect(dry.stdout).toMatch(/^cut off: .*wan/m);
    expect(await posture()).toMatchObject({ effective: 5 });
    const set = await b.shellstream('posture', 'set', '1', '--reason', 'drill', '--confirm-within', '1s');
    expect(set.stdout).toContain('the console goes back to 5');
    await level(5);
    await b.shellstream('posture', 'set', '3', '--reason', 'drill', '--confirm-within', '1h');
    expect((await b.shellstream('posture', 'confirm')).stdout).not.toContain('goes back');
    expect(await posture()).toMatchObject({ effective: 3 });
    await b.setPosture(5);
  });

  test('the posture map may be taken away or put in another’s place: nothing of it loosens, and it is told', async () => {
    const { b } = lab();
    const pin = `${b.pins}/posture_level`;
    await writeNumber(pin, 0, 3);
    await level(3);
    await rm(pin);
    await eventually('the pin again', async () => (await readdir(b.pins)).includes('posture_level'));
    expect(await mapProblems()).toEqual([]);
    expect(await posture()).toMatchObject({ effective: 3 });
    // It says 0 at first, which makes no sense and counts as lockdown.
    await replacePostureMap(b.pins);
    await eventually('lockdown', async () => (await posture()).effective === 1);
    for (const [raw, effective] of [
      [6, 1],
      [4_294_967_295, 1],
      [5, 2],
    ] as const) {
      await writeNumber(pin, 0, raw);
      await eventually(`${raw} counts as ${effective}`, async () => (await posture()).effective === effective);
    }
    expect(await mapProblems()).toHaveLength(1);
    await b.stop();
    await b.start({ posture: { leaseSeconds: 10, bascule: BASCULE } });
    await level(5);
  });

  test('another daemon on this host has a posture of its own, and a timer of its accord', async () => {
    const { b, directory } = lab();
    const instance = instanceName('c', 99);
    await using parts = new AsyncDisposableStack();
    parts.defer(() => removeTraces(instance));
    const c = parts.use(
      new Site({ ...b.options, instance, directory: join(directory, 'c'), accord: b.options.accord + TIMER }),
    );
    await c.start({
      listen: { port: 7_943 },
      wireguard: { addresses: ['10.98.0.1/24'], port: 51_941 },
      posture: { leaseSeconds: 10, isolate: 'none' },
    });
    await eventually('the level of the timer', async () => (await c.postureInKernel())[1] === 4);
    const { sources } = await c.json<PostureAnswer>('posture', 'get');
    expect(sources).toMatchObject([{ source: 'timer-audit', level: 4, governs: true }]);
    await c.setPosture(2);
    expect([await c.postureInKernel(), await b.postureInKernel()]).toEqual([
      [5, 2],
      [5, 5],
    ]);
    await b.setPosture(3);
    expect([await c.postureInKernel(), await b.postureInKernel()]).toEqual([
      [5, 2],
      [5, 3],
    ]);
    await b.setPosture(5);
  });

  test('an accord that does not parse any more changes nothing in what runs; a gateway does not start on it', async () => {
    const { b } = lab();
    await writeFile(join(b.options.directory, 'accord.yaml'), 'levels: [\n');
    await b.setPosture(4);
    expect(await posture()).toMatchObject({ effective: 4 });
    expect(await b.json('status')).toMatchObject({ accord: { id: 'site-b' } });
    await b.stop();
    await using again = b.startGateway();
    expect(await again.finished).toMatchObject({ code: 1 });
  });
});

interface Bascule extends AsyncDisposable {
  /** Told one word, it answers with an outcome. */
  word(word: object): Promise<string>;
}

async function startBascule(site: Site, entry: Entry): Promise<Bascule> {
  const child: Running = site.inside(process.execPath, [CHILD, entry.socketPath]);
  await child.line(/^ready/);
  let id = 0;
  return {
    word: async (word) => {
      id += 1;
      child.write(`${JSON.stringify({ ...word, id })}\n`);
      return (await child.line(new RegExp(`^${id} `))).replace(/^\d+ /, '');
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
