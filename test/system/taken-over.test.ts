/**
 * A terminator that was taken over: an attacker's code runs in it, behind the same sandbox and jail that the product puts
 * every terminator into, and tries to get out, at the gateway, at the other terminator, and at the sessions of others.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { grantOf, listeningPort } from '../lab/answers.ts';
import { createLab, GRANTED_TARGET, HOST, type Lab, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { eventually } from '../support/eventually.ts';
import { patient } from '../support/patience.ts';
import type { Running } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { takenOverPackage } from '../support/taken-over-package.ts';
import { descriptorsOf, holdersOf, isAlive, originsOf, terminatorsOf } from '../support/terminators.ts';
import { type Findings, HOME, type Knowledge } from './children/home.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 240_000 });
const COMMANDER = fileURLToPath(new URL('children/commander.ts', import.meta.url));

describeWith(
  ['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'addon sandbox', 'bwrap', 'tun', 'wg'],
  'a terminator that was taken over',
  () => {
    const parts = new AsyncDisposableStack();
    let lab: Lab;
    /** Of site-b, with the attacker in its terminators. */
    let gateway: Running;
    let commander: Running;
    /** The one that attacks, the other, and the port from which the first calls home. */
    let hostile = 0;
    let other = 0;
    let line: number;
    let knowledge: Knowledge;
    let honest: Visitor;
    let people = 0;

    const visit = async (): Promise<Visitor> => {
      const { a, b } = lab;
      const person = await a.person({ path: `/visitors/${people++}`, tier: 'journeyman' });
      const running = parts.use(a.startConnect(person, ...TO_SITE_B, ...GRANTED_TARGET, '--json'));
      const { session } = grantOf(await running.line(/"grant"/));
      const port = listeningPort(await running.line(/"listening"/));
      const [origin = ''] = await originsOf(a, [running.pid]);
      return { running, session, port, terminator: (await holdersOf(b)).get(origin) ?? 0 };
    };
    const isServed = ({ port }: Visitor): Promise<boolean> =>
      eventually('its service', async () => (await lab.a.greeting('127.0.0.1', port)) === `hello ${PORTS.granted}`);
    const attack = async (what: string): Promise<Findings> => {
      commander.write(`${line} ${what} ${JSON.stringify(knowledge)}\n`);
      const answer = await commander.line(new RegExp(`^${line} ${what} `), patient(60_000));
      return JSON.parse(answer.slice(`${line} ${what} `.length));
    };

    beforeAll(async () => {
      lab = parts.use(await createLab({ leaseSeconds: 3 }));
      const { a, b, directory } = lab;
      commander = parts.use(a.inside(process.execPath, [COMMANDER, HOME.address, String(HOME.port)]));
      await commander.line(/^listening/);
      const program = await takenOverPackage(join(directory, 'package'));
      await b.configure({ terminators: { count: 2 } });
      gateway = parts.use(b.inside(process.execPath, [program, 'gateway', '--config', b.configPath]));
      await gateway.line(/"msg":"ready"/, patient(40_000));
      await a.start({ terminators: { count: 1 } });
      await a.gateway.line(/"msg":"session opened"/);
      await eventually('both to call home', async () => (await callersHome(lab)).size === 2);

      // The mesh is with the other one: what the attacker must not touch.
      const [origin = ''] = await originsOf(a, await terminatorsOf(a));
      other = (await holdersOf(b)).get(origin) ?? 0;
      hostile = (await terminatorsOf(b)).find((pid) => pid !== other) ?? 0;
      line = (await callersHome(lab)).get(hostile) ?? 0;
      const visitors: Visitor[] = [];
      const isMet = (pid: number): boolean => visitors.some(({ terminator }) => terminator === pid);
      while (!isMet(hostile) || !isMet(other)) {
        if (visitors.length > 24) throw new Error('no visitor for one of the terminators');
        visitors.push(await visit());
      }
      honest = visitors.find(({ terminator }) => terminator === other) ?? (await visit());
      const { options } = b;
      knowledge = {
        pids: [gateway.pid, other, process.pid],
        paths: [
          b.configPath,
          join(options.directory, 'accord.yaml'),
          join(options.directory, 'state'),
          join(options.directory, 'run'),
        ],
        sockets: [b.socket, options.gateway.socketPath, `/var/run/wireguard/${b.interfaceName}.sock`],
        pins: [`${b.pins}/posture_level`, `${b.pins}/sessions`],
        session: honest.session,
      };
    });
    afterAll(async () => {
      // What should have ended, and did not.
      for (const pid of [hostile, other]) if (pid > 0 && (await isAlive(pid))) process.kill(pid, 'SIGKILL');
      await parts[Symbol.asyncDispose]();
    });

    test('has no capability, no way to new ones, a filter of system calls, a user and a /proc of its own', async () => {
      const status = await readFile(`/proc/${hostile}/status`, 'utf8');
      const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1] ?? '';
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
        expect(field(set), set).toMatch(/^0+$/);
      }
      expect(field('NoNewPrivs')).toBe('1');
      expect(field('Seccomp')).toBe('2');
      const uids = new Set(field('Uid').split(/\s+/));
      expect(uids.size).toBe(1);
      expect(uids).not.toContain('0');
      expect(field('Groups').trim()).toBe('');
      for (const namespace of ['pid', 'mnt', 'ipc', 'uts']) {
        const [inside, outside] = await Promise.all(
          [hostile, gateway.pid].map((pid) => readlink(`/proc/${pid}/ns/${namespace}`)),
        );
        expect(inside, namespace).not.toBe(outside);
      }
      // Every thread, not the first alone.
      for (const thread of await threadsOf(hostile)) {
        expect(thread).toMatch(/^CapEff:\s+0+$/m);
        expect(thread).toMatch(/^Seccomp:\s+2$/m);
      }
    });

    test('holds sockets, its log and the event loop, and nothing else of the kernel', async () => {
      const strange = (await descriptorsOf(hostile)).filter(
        (descriptor) => !/^\d+ (socket:|pipe:|anon_inode:\[(eventpoll|eventfd)\]|\/dev\/null)/.test(descriptor),
      );
      expect(strange).toEqual([]);
    });

    test.each(['kernel', 'processes', 'files', 'sockets', 'node'])(
      'tries %s: refused, each and every one',
      async (what) => {
        const findings = await attack(what);
        expect(Object.keys(findings).length).toBeGreaterThan(5);
        // The one way that is not refused by its kind: connecting a socket again. The jail does not show where to.
        const isHidden = (name: string, answer: string): boolean =>
          name.startsWith('fd 3 goes to') && answer === 'ENOENT';
        const allowed = Object.entries(findings).filter(
          ([name, answer]) => !REFUSALS.has(answer) && !isHidden(name, answer),
        );
        expect(allowed).toEqual([]);
        expect(await isAlive(gateway.pid)).toBe(true);
        expect(await isAlive(other)).toBe(true);
      },
    );

    test('says over its socket what it likes: evidence counts once, and sessions of others are not its own', async () => {
      const before = (await lab.b.sessions()).map(({ id }) => id).sort();
      expect(await attack('enforcer')).toEqual({
        'replayed evidence': 'NONCE_UNKNOWN',
        'replayed evidence for the session of another terminator': 'NONCE_UNKNOWN',
        'forged evidence': 'NONCE_UNKNOWN',
        'evidence of another session': 'NONCE_UNKNOWN',
        'an approach that nobody configured': 'TYPE_NOT_AUTHORISED',
        'whether the session of another terminator may be renewed': 'EXPIRED',
        'release of the session of another terminator': 'IGNORED',
        'another level for the session of another terminator': 'IGNORED',
      });
      const after = (await lab.b.sessions()).map(({ id }) => id).sort();
      expect(after).toEqual(before);
      expect((await lab.b.sessions()).find(({ id }) => id === honest.session)).toMatchObject({ peerLevel: 5 });
    });

    test.each([
      ['forge', 'SVID_SIGNATURE'],
      ['renew', 'EXPIRED'],
    ])(
      'bends fresh evidence of a peer that comes (%s): it opens nothing, and nothing of another',
      async (what, reason) => {
        const { a, b } = lab;
        const before = (await b.sessions()).map(({ id }) => id).sort();
        let findings: Findings | undefined;
        const bent = attack(what).then((heard) => {
          findings = heard;
        });
        for (let tries = 0; findings === undefined && tries < 24; tries++) {
          const person = await a.person({ path: `/visitors/${people++}`, tier: 'journeyman' });
          await a.connect(person, ...TO_SITE_B, '--ping');
        }
        await bent;
        expect(findings).toEqual({ [what]: reason });
        await eventually('the sessions as before', async () => {
          const now = (await b.sessions()).map(({ id }) => id).sort();
          return JSON.stringify(now) === JSON.stringify(before);
        });
      },
    );

    test('has harmed nobody: the gateway serves its console, its tunnel, its visitors and new ones', async () => {
      const { a, b } = lab;
      expect((await b.sessions('mesh')).length).toBe(1);
      expect(await eventually('the tunnel', () => a.greeting(HOST, PORTS.granted))).toBe(`hello ${PORTS.granted}`);
      expect(await isServed(honest)).toBe(true);
      const visitor = await visit();
      expect(await isServed(visitor)).toBe(true);
      expect(gateway.sofar()).toMatchObject({ code: null, signal: null });
      expect((await terminatorsOf(b)).length).toBe(2);
    });

    test('does not outlive its enforcer, though it will not go', async () => {
      gateway.kill('SIGKILL');
      await eventually('its death', async () => !(await isAlive(hostile)));
      await eventually('the death of the other', async () => !(await isAlive(other)));
    });
  },
);

/** How kernel and language say no. */
const REFUSALS = new Set(['EPERM', 'ENOSYS', 'EvalError']);

interface Visitor {
  readonly running: Running;
  readonly session: string;
  readonly port: number;
  readonly terminator: number;
}

/** The processes at site-b that called the commander, with the ports from which they did. */
async function callersHome({ b }: Lab): Promise<ReadonlyMap<number, number>> {
  const { stdout } = await b.run('ss', '-Htnp', 'state', 'established', `dport = :${HOME.port}`);
  const lines = stdout.split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => [
      Number(/pid=(\d+)/.exec(line)?.[1]),
      Number(/:(\d+)$/.exec(line.trim().split(/\s+/)[2] ?? '')?.[1]),
    ]),
  );
}

async function threadsOf(pid: number): Promise<readonly string[]> {
  const names = await readdir(`/proc/${pid}/task`);
  return await Promise.all(names.map((name) => readFile(`/proc/${pid}/task/${name}/status`, 'utf8')));
}
