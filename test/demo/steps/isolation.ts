/** Level 1: nobody gets in, nothing gets out, and the console is still there. */
import assert from 'node:assert/strict';
import type { PostureAnswer } from '../../lab/answers.ts';
import { HOST, PORTS } from '../../lab/lab.ts';
import type { Site } from '../../lab/site.ts';
import { bootTimeNs } from '../../support/boot-time.ts';
import { dumpValues } from '../../support/bpf-maps.ts';
import { eventually } from '../../support/eventually.ts';
import { conversations } from '../../support/records.ts';
import type { Stage } from '../stage.ts';
import type { Step } from '../story.ts';
import { setPosture } from './posture.ts';

export const isolationSteps: readonly Step<Stage>[] = [
  { name: 'local 5 to 1 isolates', run: fallToOne },
  { name: 'back to 5, sessions open again', run: backToFive },
];

async function fallToOne(stage: Stage): Promise<string> {
  const { lab, cast } = stage;
  for (const address of ['10.77.0.2', 'fd77::2']) {
    assert.equal((await lab.a.run('ping', '-c1', '-W5', address)).code, 0, `${address} does not answer at 5: no proof`);
  }
  const began = Date.now();
  await setPosture(lab.b, 1);
  assert.deepEqual(await lab.b.postureInKernel(), [5, 1]);
  const drain = await eventually('DRAIN of level 1 at site-a', () =>
    cast.eventsOfA?.find('drain-received', ({ level }) => level === 1, began),
  );
  await eventually('the end of the control window', () => controlWindowIsOver(lab.b));
  const windowEnd = Date.now();
  const words = conversations(await stage.wan.packets(), 7843).flatMap(({ records }) =>
    records.filter(({ from, type, atMs }) => from === 'responder' && type === 16 && atMs >= began),
  );
  assert.ok(words.length > 0, 'no record of site-b on the wire: what did the peer see?');

  const before = await received(lab.b);
  assert.ok(!Object.values(before).includes('?'), 'a counter that cannot be read proves nothing');
  await Promise.all([...fromOutside(stage), ...fromInside(lab.b)]);
  const after = await received(lab.b);
  const { out, tried } = await countOutside(stage, windowEnd);
  assert.ok(tried.ipv4 > 0 && tried.ipv6 > 0, 'nothing was tried from outside: no proof');
  assert.equal(out, 0, `${out} frames came out`);
  assert.deepEqual(after, before, 'packets got in');

  const onLoopback = await lab.b.run('ping', '-c1', '-W2', '127.0.0.1');
  assert.equal(onLoopback.code, 0, 'loopback is cut off');
  const posture = await lab.b.json<PostureAnswer>('posture', 'get');
  assert.equal(posture.effective, 1);
  return `${tried.ipv4} packets over IPv4 and ${tried.ipv6} over IPv6 sent at it, 0 got in, not one frame came out on either wire, not even ARP; site-a had its DRAIN (${drain.reason}), the console answers on loopback`;
}

async function backToFive(stage: Stage): Promise<string> {
  const { lab } = stage;
  const began = Date.now();
  await setPosture(lab.b, 5);
  const held = await lab.a.json<{ readonly peers: readonly { readonly state: string }[] }>('anchor', 'list');
  assert.equal(held.peers[0]?.state, 'held', 'site-a does not hold site-b');
  const released = await lab.a.shellstream('anchor', 'release', 'site-b', '--reason', 'the owner rang');
  assert.equal(released.code, 0, released.stderr);
  const fresh = await eventually('a new session of the sites', async () =>
    conversations(await stage.wan.packets(), 7843).find(
      ({ records }) => (records[0]?.atMs ?? 0) >= began && records[3]?.type === 16,
    ),
  );
  await eventually('the session at site-b', async () => (await lab.b.sessions('mesh')).length === 1);
  const greeting = await eventually('the granted target', () => lab.a.greeting(HOST, PORTS.granted));
  const ms = (fresh.records[3]?.atMs ?? 0) - began;
  return `site-a held site-b until its console was told; then a new handshake on the wire, GRANT after ${(ms / 1000).toFixed(1)} s; the target says "${greeting}"`;
}

const PINGS = 5;
const ping = (to: string): string[] => ['-c', String(PINGS), '-i', '0.1', '-W', '1', to];

function fromOutside({ lab }: Stage): Promise<unknown>[] {
  return [
    lab.a.run('ping', ...ping('10.77.0.2')),
    lab.a.run('ping', ...ping('fd77::2')),
    lab.host.attempt('ping', ping('10.2.0.1')),
    lab.a.greeting('10.77.0.2', 7843),
    lab.a.greeting('fd77::2', 7843),
  ];
}

function fromInside(site: Site): Promise<unknown>[] {
  const targets = ['10.77.0.1', 'fd77::1', HOST];
  return [...targets.map((to) => site.run('ping', ...ping(to))), site.greeting(HOST, PORTS.granted)];
}

/** What site-b's own network layer was handed: frames that its filter dropped never get there. */
async function received(site: Site): Promise<Readonly<Record<string, string>>> {
  const { stdout } = await site.run('cat', '/proc/net/snmp', '/proc/net/snmp6');
  const [ip, tcp] = ['Ip', 'Tcp'].map((table) => [...stdout.matchAll(new RegExp(`^${table}: (.*)$`, 'gm'))][1]?.[1]);
  const counter = (name: string): string => new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(stdout)?.[1] ?? '?';
  return {
    'Ip InReceives': ip?.split(' ')[2] ?? '?',
    'Tcp InSegs': tcp?.split(' ')[9] ?? '?',
    ...Object.fromEntries(
      ['Icmp6InEchos', 'Icmp6InEchoReplies', 'Udp6InDatagrams'].map((name) => [name, counter(name)]),
    ),
  };
}

interface Outside {
  /** Frames of site-b. */
  readonly out: number;
  /** Of others. */
  readonly tried: { readonly ipv4: number; readonly ipv6: number };
}

/** Frames of any kind, address resolution too, that were on the wires after a moment. */
async function countOutside({ lab, wan, lan }: Stage, since: number): Promise<Outside> {
  const own = new Set(await hardwareAddresses(lab.b));
  const frames = [...(await wan.packets()), ...(await lan.packets())].filter(({ atMs }) => atMs > since);
  const others = frames.filter(({ sourceMac }) => !own.has(sourceMac));
  const count = (etherType: number): number => others.filter((frame) => frame.etherType === etherType).length;
  return { out: frames.length - others.length, tried: { ipv4: count(IPV4), ipv6: count(IPV6) } };
}

async function hardwareAddresses(site: Site): Promise<readonly string[]> {
  const links: { address?: string }[] = JSON.parse((await site.run('ip', '-j', 'link')).stdout);
  return links.map(({ address }) => (address ?? '').replaceAll(':', ''));
}

/** By the kernel's own note of when a program first saw level 1. */
async function controlWindowIsOver(site: Site): Promise<boolean> {
  const since = (await dumpValues(`${site.pins}/lockdown_since`)).get(0)?.readBigUInt64LE() ?? 0n;
  return since > 0n && (await bootTimeNs()) > since + CONTROL_WINDOW_NS;
}

const CONTROL_WINDOW_NS = 500_000_000n;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
