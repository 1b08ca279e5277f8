/**
 * The attack: an operator with a session asks for a hundred thousand answers, reads none of them, and then is silent.
 * Prints `asked` when all of its questions have left.
 */
import { encodeFrame } from '../../../../protocol/channel/index.ts';
import { encodeRecord, RECORD, VERSION } from '../../../../protocol/handshake/index.ts';
import { systemClock as clock } from '../../../../src/base/clock.ts';
import { loadCryptoProvider } from '../../../../src/base/crypto.ts';
import { StreamsOnlyEnforcer } from '../../../../src/enforcer/streams-only.ts';
import { attestOver } from '../../../../src/mesh/dial.ts';
import { dialPatiently } from '../dial.ts';
import { openIdentity } from '../identity.ts';

const { workloadApi, url, gatewayId }: Record<'workloadApi' | 'url' | 'gatewayId', string> = JSON.parse(
  process.argv[2] ?? '',
);
await using identity = await openIdentity(workloadApi);
const crypto = loadCryptoProvider();
const posture = { level: 5, epoch: 1n } as const;
const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor: identity.attestor, posture });
const handshake = { crypto, staticKey: crypto.x25519Generate() };
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
link.pause();
const QUESTIONS = 100_000n;
let opaque = 0n;
const ask = (): void => {
  let hasRoom = true;
  while (hasRoom && opaque < QUESTIONS && !link.isClosed) {
    opaque += 1n;
    hasRoom = link.send(encodeRecord(RECORD.TRANSPORT, established.send.seal(encodeFrame({ type: 'PING', opaque }))));
  }
  if (opaque === QUESTIONS) console.log('asked');
};
link.onDrain(ask);
ask();
process.stdin.resume();
