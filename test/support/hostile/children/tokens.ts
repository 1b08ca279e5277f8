/**
 * The attack: somebody with a valid SVID presents tokens that were forged, one after the other.
 * Prints one line of JSON for each: granted, or the reason of the refusal.
 */
import { reasonOf } from '../../../../protocol/errors.ts';
import { VERSION } from '../../../../protocol/handshake/index.ts';
import { systemClock as clock } from '../../../../src/base/clock.ts';
import { loadCryptoProvider } from '../../../../src/base/crypto.ts';
import type { Attestor } from '../../../../src/enforcer/ports.ts';
import { StreamsOnlyEnforcer } from '../../../../src/enforcer/streams-only.ts';
import { attestOver } from '../../../../src/mesh/dial.ts';
import { dialPatiently } from '../dial.ts';
import { openIdentity } from '../identity.ts';

interface Arguments {
  readonly workloadApi: string;
  readonly url: string;
  readonly gatewayId: string;
  readonly tokens: readonly string[];
}

const { workloadApi, url, gatewayId, tokens }: Arguments = JSON.parse(process.argv[2] ?? '');
await using identity = await openIdentity(workloadApi);
const { attestor } = identity;
const crypto = loadCryptoProvider();
const handshake = { crypto, staticKey: crypto.x25519Generate() };
for (const token of tokens) {
  const cheating: Attestor = {
    self: () => attestor.self(),
    verifyPeer: (evidence, signed) => attestor.verifyPeer(evidence, signed),
    verifyToken: (input) => attestor.verifyToken(input),
    mintToken: async () => token,
    answersFor: async () => true,
  };
  const posture = { level: 5, epoch: 1n } as const;
  const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor: cheating, posture });
  const link = await dialPatiently(url);
  const outcome = await attestOver(
    link,
    { clock, enforcer, handshake, timeoutMs: 10_000 },
    {
      offer: { versions: [VERSION], sessionType: 'operator', mode: 'overlay' },
      expectedId: gatewayId,
      request: { capabilities: ['OBSERVE'], targets: [], advertise: [] },
    },
  ).then(() => 'granted', reasonOf);
  link.close();
  console.log(outcome);
}
