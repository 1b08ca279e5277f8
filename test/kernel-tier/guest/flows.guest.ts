import { afterAll, beforeAll, describe } from 'vitest';
import { flowTableContract } from '../../../src/dataplane/flows.contract.ts';
import { createFlowWorld, type FlowWorld } from '../../dataplane/flow-world.ts';

describe('flow table in a stock kernel, attached in whichever way it has', () => {
  let world: FlowWorld;
  beforeAll(async () => {
    world = await createFlowWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());
  flowTableContract(() => world.fresh());
});
