/** The tunnel is bound to the handshake by every bit of the key that comes out of it. */
import assert from 'node:assert/strict';
import type { Stage } from '../stage.ts';
import type { Step } from '../story.ts';

export const keySteps: readonly Step<Stage>[] = [
  { name: 'one bit of the pre-shared key flipped: no tunnel', run: flippedBit },
];

async function flippedBit({ flippedBit: pending }: Stage): Promise<string> {
  const { same, flipped } = await pending;
  assert.ok(same.answered && same.handshaken && same.data > 0, 'the pair with equal keys does not work: no proof');
  assert.ok(flipped.responses > 0, 'the flipped pair did not meet at all: no proof');
  assert.deepEqual(
    { data: flipped.data, answered: flipped.answered, handshaken: flipped.handshaken },
    { data: 0, answered: false, handshaken: false },
  );
  return `equal keys: ${same.initiations} initiation, ${same.data} data messages; one bit off: ${flipped.initiations} initiations, each answered, none taken, 0 data messages`;
}
