import { start } from '../../test/support/processes.ts';
import type { Contender } from '../harness.ts';
import { goProgram } from '../peers/go-program.ts';

const HANDSHAKES = 500;

/** A peer: flynn/noise in a process of its own, the same handshake, the same median. */
export const goNoise: Contender = {
  name: 'go-flynn-noise',
  async start() {
    const child = start(await goProgram('go-noise'), []);
    let samples = 0;
    return {
      async sample() {
        samples += 1;
        child.write(`${samples} ${HANDSHAKES}\n`);
        return Number((await child.line(new RegExp(`^${samples} `), 60_000)).split(' ')[1]);
      },
      [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
    };
  },
};
