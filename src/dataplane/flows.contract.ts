/**
 * What every flow table must do, told by packets. Runs on the kernel (BPF_PROG_TEST_RUN on interfaces of a namespace)
 * and in memory.
 */
import { forwardContract } from './flows.contract.forwards.ts';
import { levelContract } from './flows.contract.levels.ts';
import { outerContract } from './flows.contract.outer.ts';
import { packetContract } from './flows.contract.packets.ts';
import { type FlowHarness, flowScene } from './flows.contract.scene.ts';
import { sessionContract } from './flows.contract.sessions.ts';
import { translationContract } from './flows.contract.translations.ts';

export { CONTRACT_SIZES, denialTo, type FlowHarness } from './flows.contract.scene.ts';

/** Registers the tests; `open` makes an empty table for each. */
export function flowTableContract(open: () => Promise<FlowHarness>): void {
  const scene = flowScene(open);
  packetContract(scene);
  sessionContract(scene);
  outerContract(scene);
  forwardContract(scene);
  translationContract(scene);
  levelContract(scene);
}
