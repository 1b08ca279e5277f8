import { afterAll, beforeAll } from 'vitest';
import { flowTableContract } from '../../src/dataplane/flows.contract.ts';
import { describeWith } from '../support/requirements.ts';
import { createFlowWorld, type FlowWorld } from './flow-world.ts';

for (const tcx of [true, false]) {
  describeWith(
    ['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun'],
    `flow table in the kernel, by ${tcx ? 'tcx' : 'clsact'}`,
    () => {
      let world: FlowWorld;
      beforeAll(async () => {
        world = await createFlowWorld({ tcx });
      });
      afterAll(() => world[Symbol.asyncDispose]());
      flowTableContract(() => world.fresh());
    },
  );
}
