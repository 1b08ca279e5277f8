/** The kernel's flow table on three interfaces of a namespace, driven by BPF_PROG_TEST_RUN. */
import { rm } from 'node:fs/promises';
import type { FlowPacket, Verdict } from '../../src/dataplane/flow-packet.ts';
import { CONTRACT_SIZES, denialTo, type FlowHarness } from '../../src/dataplane/flows.contract.ts';
import { createLinuxFlows, type LinuxFlows, type LinuxFlowsOptions } from '../../src/dataplane/linux/flows.ts';
import { kernelAddon } from '../../src/dataplane/linux/native.ts';
import { DENIAL_CAUSES } from '../../src/dataplane/ports.ts';
import { createNamespace, type Namespace } from '../support/namespaces.ts';
import { run } from '../support/processes.ts';
import { packetBytes } from './packet-bytes.ts';

export interface FlowWorld extends AsyncDisposable {
  readonly namespace: Namespace;
  readonly flows: LinuxFlows;
  /** Folder of the pins. */
  readonly pins: string;
  /** A harness on an empty table; disposing of it empties the table again. */
  fresh(): Promise<FlowHarness>;
}

export async function createFlowWorld(options: Partial<LinuxFlowsOptions> = {}): Promise<FlowWorld> {
  await using owned = new AsyncDisposableStack();
  const namespace = owned.use(await createNamespace('flows'));
  for (const name of ['tun0', 'tun1']) {
    await run('ip', ['-n', namespace.name, 'tuntap', 'add', 'mode', 'tun', 'name', name]);
    await run('ip', ['-n', namespace.name, 'link', 'set', name, 'mtu', '1420']);
  }
  await run('ip', ['-n', namespace.name, 'link', 'add', 'out0', 'type', 'veth', 'peer', 'name', 'out1']);
  const instance = uniqueInstance();
  const pins = pinsOf(instance);
  owned.defer(() => removeInstance(instance));
  const flows = owned.use(
    await createLinuxFlows({ instance, namespace: namespace.path, sizes: CONTRACT_SIZES, ...options }),
  );
  owned.defer(() => flows.reset());
  const interfaces = {
    tunnel: await ifindexOf(namespace, 'tun0'),
    otherTunnel: await ifindexOf(namespace, 'tun1'),
    outer: await ifindexOf(namespace, 'out0'),
  };
  const resources = owned.move();
  return {
    namespace,
    flows,
    pins,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
    async fresh() {
      const setExternal = (raw: number): Promise<void> => writePosture(pins, raw);
      return {
        flows,
        interfaces,
        setExternal,
        judge: async (packet) => verdictOn(flows, packet, packet.ifindex === interfaces.outer),
        now: () => kernelAddon().bootTimeNs(),
        pass: async (ns) => letPass(flows, ns),
        entries: async () => entriesOf(flows),
        denialTo: (port) => denialTo(flows, port),
        async [Symbol.asyncDispose]() {
          await flows.reset();
          await setExternal(5);
          await flows.setPosture(5);
        },
      };
    },
  };
}

export function uniqueInstance(): string {
  instances += 1;
  return `test-${process.pid}-${instances}`;
}

/** What a run leaves on purpose: pins, which outlive it, and the file of its lock. */
export async function removeInstance(instance: string): Promise<void> {
  await rm(pinsOf(instance), { recursive: true, force: true });
  await rm(`/run/shellstream/${instance}.lock`, { force: true });
}

export const pinsOf = (instance: string): string => `/sys/fs/bpf/shellstream/${instance}`;

/** As the shell's governance does, with a program that is not ours. */
export async function writePosture(pins: string, raw: number): Promise<void> {
  const bytes = [raw & 255, (raw >> 8) & 255, (raw >> 16) & 255, (raw >> 24) & 255].map(String);
  await run('bpftool', [
    'map',
    'update',
    'pinned',
    `${pins}/posture_level`,
    'key',
    '0',
    '0',
    '0',
    '0',
    'value',
    ...bytes,
  ]);
}

export async function ifindexOf(namespace: Namespace, name: string): Promise<number> {
  const { stdout } = await run('ip', ['-n', namespace.name, '-j', 'link', 'show', name]);
  const [link] = JSON.parse(stdout) as readonly { readonly ifindex: number }[];
  if (link === undefined) throw new Error(`no link ${name}`);
  return link.ifindex;
}

/** What the program returned, and by which counter of denials that was. */
export function verdictOf(
  flows: LinuxFlows,
  program: string,
  ifindex: number,
  packet: Uint8Array,
  cameBy?: number,
): Verdict {
  const before = denialsByCause(flows);
  const { verdict } = flows.plane.testRun(program, ifindex, packet, 1, cameBy);
  const denied = denialsByCause(flows).findIndex((count, cause) => count !== before[cause]);
  const cause = DENIAL_CAUSES[denied - 1];
  if (verdict === UNSPEC && cause === undefined) return 'PASS';
  if (verdict === SHOT && cause !== undefined) return cause;
  throw new Error(`verdict ${verdict} with cause ${cause}`);
}

let instances = 0;
const UNSPEC = 0xffff_ffff;
const SHOT = 2;

function verdictOn(flows: LinuxFlows, packet: FlowPacket, isOuter: boolean): Verdict {
  const program = `${isOuter ? 'outer' : 'tunnel'}_${packet.direction}`;
  const cameBy = 'cameBy' in packet ? packet.cameBy : undefined;
  return verdictOf(flows, program, packet.ifindex, packetBytes(packet, isOuter), cameBy);
}

function denialsByCause(flows: LinuxFlows): readonly bigint[] {
  return Array.from({ length: DENIAL_CAUSES.length + 1 }, (_, cause) => {
    const counts = flows.plane.get('denial_stats', Uint8Array.of(cause, 0, 0, 0)) ?? Buffer.alloc(0);
    let sum = 0n;
    for (let at = 0; at < counts.length; at += 8) sum += counts.readBigUInt64LE(at);
    return sum;
  });
}

/** Sets back every time that a map remembers. */
function letPass({ plane }: LinuxFlows, ns: bigint): void {
  const back = (time: bigint): bigint => (time === 0n ? 0n : time - ns);
  plane.storeLong('lockdown_since', 0, 0, back(plane.readArray('lockdown_since', 0, 1).readBigUInt64LE()));
  plane.storeLong('node_lease', 0, 0, back(plane.readArray('node_lease', 0, 1).readBigUInt64LE()));
  for (let slot = 0; slot < CONTRACT_SIZES.sessions; slot += 1) {
    plane.storeLong('session_state', slot, 8, back(plane.readArray('session_state', slot, 1).readBigUInt64LE(8)));
  }
  const keys = plane.keys('flow_state');
  for (let at = 0; at < keys.length; at += 48) {
    const key = keys.subarray(at, at + 48);
    const flow = plane.get('flow_state', key);
    if (flow === null) continue;
    flow.writeBigUInt64LE(back(flow.readBigUInt64LE()));
    plane.put('flow_state', key, flow);
  }
}

function entriesOf({ plane }: LinuxFlows) {
  return {
    policies: plane.keys('flow_policy').length / 28 + plane.keys('flow_prefixes').length / 32,
    live: plane.keys('flow_state').length / 48,
    sources: plane.keys('source_slots').length / 24,
  };
}
