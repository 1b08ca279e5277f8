/**
 * The attack: an operator who says level 1, then 5, as often as it is let: in the session, and with each new one that it
 * opens when that ended. Prints in how many sessions it said so, and how many attempts were refused.
 */
import { encodeFrame, type Frame } from '../../../../protocol/channel/index.ts';
import { encodeRecord, RECORD, VERSION } from '../../../../protocol/handshake/index.ts';
import type { PostureLevel } from '../../../../protocol/posture/level.ts';
import { systemClock as clock } from '../../../../src/base/clock.ts';
import { loadCryptoProvider } from '../../../../src/base/crypto.ts';
import { StreamsOnlyEnforcer } from '../../../../src/enforcer/streams-only.ts';
import type { Link } from '../../../../src/link/index.ts';
import { attestOver } from '../../../../src/mesh/dial.ts';
import { dialPatiently } from '../dial.ts';
import { openIdentity } from '../identity.ts';

interface Arguments {
  readonly workloadApi: string;
  readonly url: string;
  readonly gatewayId: string;
  readonly rounds: number;
}

const { workloadApi, url, gatewayId, rounds }: Arguments = JSON.parse(process.argv[2] ?? '');
await using identity = await openIdentity(workloadApi);
const { attestor } = identity;
const crypto = loadCryptoProvider();
const handshake = { crypto, staticKey: crypto.x25519Generate() };
const counts = { sessions: 0, refused: 0 };
let epoch = 1n;

for (let round = 0; round < rounds; round += 1) {
  for (const level of [1, 5] as const) await visit(level);
}
console.log(JSON.stringify(counts));

/** @param level as it is said in the handshake */
async function visit(level: PostureLevel): Promise<void> {
  epoch += 1n;
  const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor, posture: { level, epoch } });
  try {
    const link = await dialPatiently(url);
    const { established } = await attestOver(
      link,
      { clock, enforcer, handshake, timeoutMs: 10_000 },
      {
        offer: { versions: [VERSION], sessionType: 'operator', mode: 'overlay' },
        expectedId: gatewayId,
        request: { capabilities: ['OBSERVE'], targets: [], advertise: [] },
      },
    );
    counts.sessions += 1;
    const send = (frame: Frame): unknown =>
      link.isClosed || link.send(encodeRecord(RECORD.TRANSPORT, established.send.seal(encodeFrame(frame))));
    for (const said of [1, 5, 1, 5] as const) send({ type: 'POSTURE', level: said, epoch: ++epoch });
    await answered(link);
    link.close();
  } catch {
    counts.refused += 1;
  }
}

/** The gateway's last word, or the end. */
function answered(link: Link): Promise<void> {
  return new Promise((resolve) => {
    link.onRecord(() => resolve());
    link.onClose(() => resolve());
    link.resume();
  });
}
