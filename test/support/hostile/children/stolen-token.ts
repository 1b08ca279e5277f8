/**
 * The attack: somebody got hold of another's attestation token and presents it with a valid SVID of their own.
 * Prints one line of JSON: granted, or the reason of the refusal. Without a token of others it is an honest client.
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
  readonly stolenToken?: string;
}

const { workloadApi, url, gatewayId, stolenToken }: Arguments = JSON.parse(process.argv[2] ?? '');
await using identity = await openIdentity(workloadApi);
const { attestor } = identity;
const crypto = loadCryptoProvider();
const cheating: Attestor = {
  self: () => attestor.self(),
  verifyPeer: (evidence, signed) => attestor.verifyPeer(evidence, signed),
  verifyToken: (input) => attestor.verifyToken(input),
  mintToken: async (...asked) => stolenToken ?? attestor.mintToken(...asked),
  answersFor: async () => true,
};
const posture = { level: 5, epoch: 1n } as const;
const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor: cheating, posture });
const handshake = { crypto, staticKey: crypto.x25519Generate() };
const link = await dialPatiently(url);
try {
  const { admission } = await attestOver(
    link,
    { clock, enforcer, handshake, timeoutMs: 10_000 },
    {
      offer: { versions: [VERSION], sessionType: 'operator', mode: 'overlay' },
      expectedId: gatewayId,
      request: { capabilities: ['OBSERVE'], targets: [], advertise: [] },
    },
  );
  console.log(JSON.stringify({ outcome: 'granted', capabilities: admission.grant.capabilities }));
} catch (error) {
  console.log(JSON.stringify({ outcome: 'refused', reason: reasonOf(error) }));
} finally {
  link.close();
}
