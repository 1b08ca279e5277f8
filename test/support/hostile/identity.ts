/** What the hostile programs have in common: a valid SVID of their own, and our code bent where they cheat. */
import { systemClock } from '../../../src/base/clock.ts';
import { SpiffeAttestor } from '../../../src/identity/attestor.ts';
import {
  type IdentitySource,
  openIdentitySource,
  SpireSatVerifier,
  SvidVerifier,
} from '../../../src/identity/index.ts';

export interface HostileIdentity extends AsyncDisposable {
  readonly source: IdentitySource;
  readonly attestor: SpiffeAttestor;
}

export async function openIdentity(socketPath: string): Promise<HostileIdentity> {
  const source = openIdentitySource({ socketPath, clock: systemClock, random: Math.random });
  await source.ready(AbortSignal.timeout(10_000));
  const attestor = new SpiffeAttestor({
    source,
    svids: new SvidVerifier({ bundles: () => source.bundles, clock: systemClock }),
    sats: new SpireSatVerifier({ source }),
    clock: systemClock,
    onTokenChecked: () => undefined,
  });
  return { source, attestor, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() };
}
