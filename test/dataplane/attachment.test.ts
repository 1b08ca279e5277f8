/** In which way programs hang on an interface, as `tc` and `bpftool` see it; the kernel tier runs it on a kernel without tcx. */
import { release } from 'node:os';
import { expect, test } from 'vitest';
import { createLinuxFlows } from '../../src/dataplane/linux/flows.ts';
import { eventually } from '../support/eventually.ts';
import type { Namespace } from '../support/namespaces.ts';
import { type Running, run } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { createFlowWorld, type FlowWorld, ifindexOf, removeInstance, uniqueInstance } from './flow-world.ts';

const WAYS = [
  ['tcx, where the kernel has it', true],
  ['clsact', false],
] as const;

describeWith(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun'], 'programs on an interface', () => {
  test('hang by tcx links from Linux 6.6 on and by clsact filters before, both ways, and detaching leaves neither', async () => {
    await using world = await createFlowWorld();
    const ifindex = await ifindexOf(world.namespace, 'out0');
    await world.flows.attach({ ifindex, kind: 'outer' });
    const expected = hasTcx() ? { tcx: BOTH, clsact: [] } : { tcx: [], clsact: BOTH };
    expect(await witnesses(world)).toEqual(expected);
    await world.flows.detach(ifindex);
    await become(world, { tcx: [], clsact: [] });
  });

  test('hang by clsact where that is asked for', async () => {
    await using world = await createFlowWorld({ tcx: false });
    const ifindex = await ifindexOf(world.namespace, 'out0');
    await world.flows.attach({ ifindex, kind: 'outer' });
    expect(await witnesses(world)).toEqual({ tcx: [], clsact: BOTH });
    await world.flows.detach(ifindex);
    expect(await witnesses(world)).toEqual({ tcx: [], clsact: [] });
  });

  test.each(WAYS)('by %s they take the place of those before them, with no moment between', async (_, tcx) => {
    await using world = await createFlowWorld({ tcx });
    const ifindex = await ifindexOf(world.namespace, 'out0');
    await world.flows.attach({ ifindex, kind: 'outer' });
    expect(await world.flows.replacesAtOnce(ifindex)).toBe(true);
    await using monitor = world.namespace.start('stdbuf', ['-oL', 'tc', 'monitor']);
    await filterOf(world.namespace, monitor, 'before');
    await world.flows.attach({ ifindex, kind: 'tunnel' });
    await filterOf(world.namespace, monitor, 'after');
    expect(monitor.sofar().stdout).not.toMatch(/deleted filter dev out0/);
    const { tcx: linked, clsact } = await witnesses(world);
    expect([...linked, ...clsact]).toEqual(['tunnel_ether_in', 'tunnel_ether_out']);
  });

  test.each(WAYS)('by %s they are not taken for there when somebody took one away', async (_, tcx) => {
    await using world = await createFlowWorld({ tcx });
    const ifindex = await ifindexOf(world.namespace, 'out0');
    expect(await world.flows.replacesAtOnce(ifindex)).toBe(false);
    await world.flows.attach({ ifindex, kind: 'outer' });
    const before = await witnesses(world);
    if (tcx && hasTcx()) await run('bpftool', ['link', 'detach', 'pinned', `${world.pins}/links/${ifindex}-in`]);
    else await ingressFilter(world, 'delete');
    expect(await world.flows.replacesAtOnce(ifindex)).toBe(false);
    await world.flows.attach({ ifindex, kind: 'outer' });
    await become(world, before);
  });

  test('by clsact they are not taken for there when somebody put another program in their place', async () => {
    await using world = await createFlowWorld({ tcx: false });
    const ifindex = await ifindexOf(world.namespace, 'out0');
    await world.flows.attach({ ifindex, kind: 'outer' });
    await ingressFilter(world, 'replace', 'bytecode', '1,6 0 0 0,');
    expect(await world.flows.replacesAtOnce(ifindex)).toBe(false);
  });

  test('by clsact those of another instance on the same interface stand when these go', async () => {
    await using world = await createFlowWorld({ tcx: false });
    const ifindex = await ifindexOf(world.namespace, 'out0');
    await world.flows.attach({ ifindex, kind: 'outer' });
    await using owned = new AsyncDisposableStack();
    const instance = uniqueInstance();
    owned.defer(() => removeInstance(instance));
    const other = owned.use(await createLinuxFlows({ instance, namespace: world.namespace.path, tcx: false }));
    await other.attach({ ifindex, kind: 'outer' });
    expect(await filtered(world)).toHaveLength(4);
    await other.detach(ifindex);
    expect(await witnesses(world)).toEqual({ tcx: [], clsact: BOTH });
    expect(await world.flows.replacesAtOnce(ifindex)).toBe(true);
  });
});

const BOTH = ['outer_in', 'outer_out'];

function hasTcx(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 6);
}

/** What an operator does to the first filter of `out0`. */
async function ingressFilter({ namespace }: FlowWorld, verb: string, ...rest: readonly string[]): Promise<void> {
  const which = ['dev', 'out0', 'ingress', 'prio', '1', 'handle', '1', 'bpf'];
  await namespace.run('tc', ['filter', verb, ...which, ...rest]);
}

/** A filter of the test's own, on another interface: what `tc monitor` says comes in order. */
async function filterOf({ name }: Namespace, monitor: Running, word: string): Promise<void> {
  const link = `${word}0`;
  await run('ip', ['-n', name, 'link', 'add', link, 'type', 'veth', 'peer', 'name', `${word}1`]);
  await eventually('tc monitor hears', async () => {
    await run('tc', ['-n', name, 'qdisc', 'replace', 'dev', link, 'clsact']);
    await run('tc', ['-n', name, 'qdisc', 'delete', 'dev', link, 'clsact']);
    return monitor.sofar().stdout.includes(link);
  });
}

interface Witnesses {
  /** Names of programs that `bpftool` finds on links of this table. */
  readonly tcx: readonly string[];
  /** Names of programs that `tc` finds in the filters of the interface. */
  readonly clsact: readonly string[];
}

/** The kernel shows a link that nobody has any more until a moment later. */
async function become(world: FlowWorld, expected: Witnesses): Promise<void> {
  await eventually(JSON.stringify(expected), async () => {
    expect(await witnesses(world)).toEqual(expected);
    return true;
  });
}

async function witnesses(world: FlowWorld): Promise<Witnesses> {
  return { tcx: await linked(world), clsact: await filtered(world) };
}

/** BPF_LINK_TYPE_TCX of linux/bpf.h, which older releases of bpftool have no word for. */
const TCX_LINK = 11;

async function linked(world: FlowWorld): Promise<readonly string[]> {
  const links = await asked<{ readonly type: number | string; readonly prog_id: number }>('bpftool', '-j', 'link');
  const programs = await asked<{ readonly id: number; readonly name?: string }>('bpftool', '-j', 'prog', 'show');
  const own = await ownPrograms(world);
  return links
    .filter(({ type, prog_id }) => (type === TCX_LINK || type === 'tcx') && own.has(prog_id))
    .map(({ prog_id }) => programs.find(({ id }) => id === prog_id)?.name ?? '')
    .sort();
}

/** Numbers of the programs that use this table's maps: other tests and gateways have programs of the same names. */
async function ownPrograms({ pins }: FlowWorld): Promise<ReadonlySet<number>> {
  const { stdout } = await run('bpftool', ['-j', 'map', 'show', 'pinned', `${pins}/iface`]);
  const { id }: { id: number } = JSON.parse(stdout);
  const programs = await asked<{ readonly id: number; readonly map_ids?: readonly number[] }>(
    'bpftool',
    '-j',
    'prog',
    'show',
  );
  return new Set(programs.filter(({ map_ids = [] }) => map_ids.includes(id)).map((program) => program.id));
}

async function filtered({ namespace }: FlowWorld): Promise<readonly string[]> {
  const names: string[] = [];
  for (const way of ['ingress', 'egress']) {
    const { stdout } = await run('tc', ['-n', namespace.name, '-j', 'filter', 'show', 'dev', 'out0', way]);
    const filters: readonly { options?: { bpf_name?: string } }[] = stdout === '' ? [] : JSON.parse(stdout);
    names.push(...filters.flatMap(({ options }) => (options?.bpf_name === undefined ? [] : [options.bpf_name])));
  }
  return names.sort();
}

async function asked<Row>(command: string, ...args: readonly string[]): Promise<readonly Row[]> {
  return JSON.parse((await run(command, args)).stdout);
}
