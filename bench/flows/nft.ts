import type { Contender } from '../harness.ts';
import { governedNamespace } from '../host/governed-namespace.ts';
import { ENTRIES, SESSIONS, TARGETS, target } from './workload.ts';

/** A peer: the same entries as elements of one nftables set, all in one transaction of `nft -f -`, which is its best case. */
export const nftSet: Contender = {
  name: 'nft-set',
  async start() {
    await using stack = new AsyncDisposableStack();
    const { namespace } = await governedNamespace('bench-nft');
    stack.use(namespace);
    const nft = (input: string) => namespace.run('nft', ['-f', '-'], { input });
    await nft('table inet bench { set flows { type ifname . ipv4_addr . inet_proto . inet_service; }\n}\n');
    const elements: string[] = [];
    for (let session = 0; session < SESSIONS; session += 1) {
      for (let index = 0; index < TARGETS; index += 1) {
        const { address, port } = target(session, index);
        elements.push(`"gov0" . ${address.join('.')} . tcp . ${port}`);
      }
    }
    const install = `add element inet bench flows { ${elements.join(', ')} }\n`;
    const owned = stack.move();
    return {
      async sample() {
        const begun = performance.now();
        await nft(install);
        const seconds = (performance.now() - begun) / 1000;
        await nft('flush set inet bench flows\n');
        return ENTRIES / seconds;
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};
