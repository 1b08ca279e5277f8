import { describe } from 'vitest';
import { CONTRACT_SIZES, denialTo, type FlowHarness, flowTableContract } from '../flows.contract.ts';
import { createMemoryFlows } from './flows.ts';

describe('flow table in memory', () => {
  flowTableContract(async (): Promise<FlowHarness> => {
    let now = 1_000_000_000_000n;
    const flows = createMemoryFlows({ ...CONTRACT_SIZES, bootTimeNs: () => now });
    return {
      flows,
      interfaces: { tunnel: 11, otherTunnel: 12, outer: 13 },
      judge: async (packet) => flows.judge(packet),
      setExternal: async (raw) => flows.setExternalPosture(raw),
      now: () => now,
      pass: async (ns) => {
        now += ns;
      },
      entries: async () => flows.entries,
      denialTo: (port) => denialTo(flows, port),
      [Symbol.asyncDispose]: async () => {},
    };
  });
});
