/** Both flow tables take the same random calls; every packet must get the same verdict from both after each. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FlowPacket } from '../../src/dataplane/flow-packet.ts';
import { CONTRACT_SIZES, type FlowHarness } from '../../src/dataplane/flows.contract.ts';
import { createMemoryFlows } from '../../src/dataplane/memory/flows.ts';
import type { FlowRule, FlowTable } from '../../src/dataplane/ports.ts';
import { describeWith } from '../support/requirements.ts';
import { createFlowWorld, type FlowWorld } from './flow-world.ts';

const SECOND = 1_000_000_000n;
const RUNS = Number(process.env.AGREEMENT_RUNS ?? 60);
const SLOTS = [1, 2, 3];
const PEER = Uint8Array.of(10, 1, 0, 2);
const TARGETS = [1, 2, 3].map((last) => Uint8Array.of(10, 2, 0, last));
/** Each target as a host, and one prefix over all of them. */
const RULES = [
  ...TARGETS.map((address) => ({ address, length: 32 })),
  { address: Uint8Array.of(10, 2, 0, 0), length: 24 },
];

type Call =
  | { readonly verb: 'install'; readonly slot: number; readonly rules: readonly { rule: number; floor: number }[] }
  | { readonly verb: 'overfill' | 'activate' | 'deactivate' | 'remove'; readonly slot: number };

const slot = fc.constantFrom(...SLOTS);
const rules = fc.array(fc.record({ rule: fc.nat(RULES.length - 1), floor: fc.constantFrom(2, 4) }), { maxLength: 6 });
const call: fc.Arbitrary<Call> = fc.oneof(
  fc.record({ verb: fc.constant('install' as const), slot, rules }),
  fc.record({ verb: fc.constantFrom('activate' as const, 'deactivate' as const, 'remove' as const), slot }),
  fc.record({ verb: fc.constant('overfill' as const), slot }),
);

describeWith(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun'], 'two flow tables', () => {
  let world: FlowWorld;
  beforeAll(async () => {
    world = await createFlowWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  test('agree on who owns a target that several sessions were granted, whatever came before', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(call, { maxLength: 12 }), async (calls) => {
        await using kernel = await world.fresh();
        const memory = createMemoryFlows({ ...CONTRACT_SIZES, bootTimeNs: kernel.now });
        const { tunnel } = kernel.interfaces;
        for (const flows of [kernel.flows, memory]) await prepare(flows, tunnel, kernel.now());
        for (const [generation, made] of calls.entries()) {
          const answers: string[] = [];
          for (const flows of [kernel.flows, memory]) answers.push(await take(flows, tunnel, made, generation + 1));
          expect(answers[0]).toBe(answers[1]);
          await sameVerdicts(kernel, memory.judge.bind(memory), tunnel);
          expect((await kernel.entries()).policies).toBe(memory.entries.policies);
        }
      }),
      { numRuns: RUNS },
    );
  });
});

async function prepare(flows: FlowTable, ifindex: number, now: bigint): Promise<void> {
  await flows.attach({ ifindex, kind: 'tunnel' });
  await flows.pinSources(ifindex, 1, [{ address: PEER, length: 32 }]);
  await flows.setPeerLevel(1, 3);
  await flows.renewLease(now + 3600n * SECOND);
  lastGeneration.set(flows, new Map());
}

/** What the slots hold, by table: activating takes the generation that was installed. */
const lastGeneration = new WeakMap<FlowTable, Map<number, number>>();

async function take(flows: FlowTable, ifindex: number, made: Call, generation: number): Promise<string> {
  const { slot: sessionSlot } = made;
  const generations = lastGeneration.get(flows) ?? new Map<number, number>();
  const session = (of: number) => ({ sessionSlot, generation: of, peerSlot: 1, expiresAtBootNs: 1n << 60n });
  const granted = (rule: number, floor: number, port = 443): FlowRule => {
    const destination = RULES[rule] ?? { address: PEER, length: 32 };
    return { ifindex, direction: 'in', destination, protocol: 6, port, floor };
  };
  try {
    switch (made.verb) {
      case 'install':
        generations.set(sessionSlot, generation);
        await flows.install(
          session(generation),
          made.rules.map(({ rule, floor }) => granted(rule, floor)),
        );
        break;
      case 'overfill':
        await flows.install(
          session(generation),
          Array.from({ length: CONTRACT_SIZES.rules + 1 }, (_, n) => granted(n % TARGETS.length, 2, 443 + (n >> 1))),
        );
        break;
      case 'activate':
        await flows.activate(session(generations.get(sessionSlot) ?? 0));
        break;
      case 'deactivate':
        await flows.deactivate(sessionSlot);
        break;
      case 'remove':
        await flows.remove(sessionSlot, []);
        break;
    }
    return 'done';
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 16) : String(error);
  }
}

async function sameVerdicts(
  kernel: FlowHarness,
  judge: (packet: FlowPacket) => string,
  ifindex: number,
): Promise<void> {
  for (const destination of TARGETS) {
    const packet: FlowPacket = {
      kind: 'tcp',
      ifindex,
      direction: 'in',
      source: PEER,
      destination,
      sourcePort: 40_000,
      destinationPort: 443,
      flags: 2,
    };
    expect(await kernel.judge(packet), `to ${destination.join('.')}`).toBe(judge(packet));
  }
}
