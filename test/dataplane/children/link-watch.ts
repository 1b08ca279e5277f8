/** Prints at each call of a watch of links how the link `one` is by then. Ends by itself on the first line that it is given. */
import { createLinuxNetwork } from '../../../src/dataplane/linux/network.ts';

const network = createLinuxNetwork();
let calls = 0;
network.watchLinks({
  async changed() {
    calls += 1;
    const call = calls;
    const one = (await network.links()).find(({ name }) => name === 'one');
    console.log(`call ${call} one ${one === undefined ? 'gone' : one.up ? 'up' : 'down'}`);
  },
  ended: (problem) => console.error(problem),
});
process.stdin.once('data', () => process.stdin.destroy());
console.log('watching');
