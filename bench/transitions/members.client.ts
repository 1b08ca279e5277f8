/**
 * Sites that mesh with the gateway, each with an identity, a key and an address of its own: `fill` until all of them stand,
 * `gone`: when the last of them has ended, by the host's clock; `renewed`: when the last has attested again since `fill`, and
 * how many ended instead. They attest again where a level asks for it, as sites do; what they would put into their own kernels
 * stays in memory.
 */
import { hostPrefix } from '../../protocol/net/prefix.ts';
import { systemClock as clock } from '../../src/base/clock.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';
import { createMemoryDataPlane } from '../../src/dataplane/memory/index.ts';
import { Overlay } from '../../src/enforcer/overlay.ts';
import { inParallel } from '../handshake/server-subject.ts';
import { obey } from '../lib/commands.ts';
import { Operator } from '../lib/operator.ts';
import { patiently } from './patiently.ts';

const CONCURRENCY = 8;
const NOTHING = { capabilities: ['OBSERVE'] as const, targets: [], advertise: [] };

const crypto = loadCryptoProvider();
const count = Number(process.argv.at(-1));
const away: Operator[] = [];
let standing = 0;
let gone = Promise.withResolvers<string>();
let renewed = 0;
let allRenewed = Promise.withResolvers<string>();

for (let n = 0; n < count; n += 1) away.push(await member(n));

obey(async ([verb]) => {
  if (verb === 'gone') return await gone.promise;
  if (verb === 'renewed') return await allRenewed.promise;
  if (standing === 0) gone = Promise.withResolvers();
  renewed = 0;
  allRenewed = Promise.withResolvers();
  await inParallel(away.length, CONCURRENCY, join);
  return '';
});

async function member(n: number): Promise<Operator> {
  const overlay = await Overlay.open(createMemoryDataPlane({ clock }), crypto, {
    interfaceName: 'member0',
    listenPort: 0,
    mtu: 1_420,
    addresses: [hostPrefix(Uint8Array.of(10, 98, n >> 8, n & 0xff))],
    slots: 1,
  });
  return Operator.fromArguments(process.argv, { path: `/site/${n}`, overlay }).operator;
}

async function join(): Promise<void> {
  const site = away.pop();
  if (site === undefined) return;
  await patiently(() =>
    site.open(NOTHING, {
      attestedAgain: () => {
        renewed += 1;
        noteRenewed();
      },
      ended: () => {
        away.push(site);
        standing -= 1;
        noteRenewed();
        if (standing === 0) gone.resolve(String(process.hrtime.bigint()));
      },
    }),
  );
  standing += 1;
}

function noteRenewed(): void {
  if (renewed < standing) return;
  allRenewed.resolve(`${process.hrtime.bigint()} ${count - standing}`);
}
