/**
 * The attack: a workload with a valid SVID of the right trust domain poses as its gateway, to be sent tokens.
 * Prints `listening`, then one line of JSON for each visitor: whether an ATTEST-CONFIRM, which holds the token, came.
 */
import { reasonOf, ShellstreamError } from '../../../../protocol/errors.ts';
import { encodeVerifyBody, NONCE_BYTES, signedMessage, VERSION } from '../../../../protocol/handshake/index.ts';
import { systemClock as clock } from '../../../../src/base/clock.ts';
import { loadCryptoProvider } from '../../../../src/base/crypto.ts';
import type { ChallengeInput, Enforcer } from '../../../../src/enforcer/ports.ts';
import { type Link, listenWebSocket } from '../../../../src/link/index.ts';
import { attestAsResponder } from '../../../../src/session/attest.ts';
import { LinkExchange } from '../../../../src/session/link-exchange.ts';
import { openIdentity } from '../identity.ts';

const { workloadApi, port }: { readonly workloadApi: string; readonly port: number } = JSON.parse(
  process.argv[2] ?? '',
);
const identity = await openIdentity(workloadApi);
const crypto = loadCryptoProvider();
const handshake = { crypto, staticKey: crypto.x25519Generate() };

const never = (): Promise<never> => Promise.reject(new ShellstreamError('UNEXPECTED_RECORD'));
const enforcer: Enforcer = {
  challenge: async ({ transcript, staticKey }: ChallengeInput) => {
    const own = identity.attestor.self();
    const body = encodeVerifyBody({ version: VERSION, nonce: crypto.randomBytes(NONCE_BYTES), freshSat: false });
    const signed = signedMessage(crypto, { role: 'responder', transcript, staticKey }, body);
    return { chain: own.chain, signature: own.sign(signed), body };
  },
  admit: () => {
    console.log(JSON.stringify({ confirm: true }));
    return never();
  },
  mayRenew: never,
  approach: never,
  accept: never,
  setPeerLevel: never,
  release: never,
};

await listenWebSocket({ address: '::', port, admit: () => true, accept: (link) => void meet(link) });
console.log('listening');

async function meet(link: Link): Promise<void> {
  using exchange = new LinkExchange(link, clock, 10_000);
  try {
    await attestAsResponder(exchange, { enforcer, handshake, connection: link });
  } catch (error) {
    console.log(JSON.stringify({ confirm: false, ended: reasonOf(error) }));
  }
  link.close();
}
