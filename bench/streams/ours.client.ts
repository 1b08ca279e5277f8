/** `up BYTES` and `down BYTES` through one session, to a target in this process; what that costs is no cost of the gateway. */

import { obey } from '../lib/commands.ts';
import { Operator } from '../lib/operator.ts';
import { type Direction, listen, transfer } from './transfer.ts';

const { operator } = Operator.fromArguments(process.argv);
const { port } = await listen();
const target = { prefix: { address: Uint8Array.of(127, 0, 0, 1), length: 32 }, protocol: 6, port };
const session = await operator.open(
  { capabilities: ['OBSERVE', 'CONNECT'], targets: [target], advertise: [] },
  {
    ended: (_, reason) => {
      throw new Error(`the session ended: ${reason}`);
    },
  },
);

obey(async ([direction = '', bytes = '']) => {
  await transfer(await session.streams.open(target), direction as Direction, Number(bytes));
});
