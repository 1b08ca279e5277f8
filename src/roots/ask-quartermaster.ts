/** The command line's way to a Quartermaster. */

import { ShellstreamError } from '../../protocol/errors.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { systemClock as clock } from '../base/clock.ts';
import type { OpenedQuartermaster, QuartermasterPlace } from '../cli/world.ts';
import { openIdentitySource, SvidVerifier } from '../identity/index.ts';
import { linkBySocket, linkBySpiffe } from '../quartermaster/client.ts';

const IDENTITY_TIMEOUT_MS = 10_000;

/** @throws ShellstreamError CONNECTION_LOST; of another host's also the refusals of `connectSpiffeTls` */
export async function askQuartermaster(
  place: QuartermasterPlace,
  interrupted: AbortSignal,
): Promise<OpenedQuartermaster> {
  await using parts = new AsyncDisposableStack();
  const link = parts.use(
    'socket' in place ? await linkBySocket(place.socket) : await remote(place, parts, interrupted),
  );
  const owned = parts.move();
  return { client: link.client, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function remote(
  { address, spiffeId: text, workloadApi }: Exclude<QuartermasterPlace, { readonly socket: string }>,
  parts: AsyncDisposableStack,
  interrupted: AbortSignal,
) {
  const spiffeId = parseSpiffeId(text);
  if (spiffeId === undefined) throw new ShellstreamError('WRONG_IDENTITY', `${text} is no SPIFFE ID`);
  const identity = parts.use(openIdentitySource({ socketPath: workloadApi, clock, random: Math.random }));
  await identity.ready(AbortSignal.any([interrupted, AbortSignal.timeout(IDENTITY_TIMEOUT_MS)]));
  const tls = { identity, svids: new SvidVerifier({ bundles: () => identity.bundles, clock }), clock };
  return await linkBySpiffe(tls, { address, spiffeId }, interrupted);
}
