/** Revocation put together: what is kept, what it takes away, whom it is heard from and told to. */
import { matchesSpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import { signHeartbeat } from '../../protocol/revocation/index.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { nodeEd25519 } from '../base/ed25519.ts';
import type { Overseer } from '../enforcer/overseer.ts';
import { RevocationFeedClient, serveRevocationFeed } from '../identity/revocation-feed.ts';
import { loadRevocationKey, type RevocationKey } from '../identity/revocation-keys.ts';
import { forgetfulRevocations } from '../identity/revocation-store.ts';
import { Revocations } from '../identity/revocations.ts';
import type { SatVerifier } from '../identity/sat.ts';
import type { SvidVerifier } from '../identity/svid-verifier.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import type { RecordRevocation } from './revocation-evidence.ts';

/** As a former run left it; in effect for whatever is judged from here on. */
export function openRevocations(world: Pick<EnforcerWorld, 'config' | 'revocations' | 'clock' | 'log'>): Revocations {
  const { config, revocations: opened = forgetfulRevocations(), clock } = world;
  const log = world.log.child({ part: 'revocation' });
  if (opened.problem !== undefined) {
    log.error('the record of revocations cannot be read: nobody new at level 3 and below until it is moved away', {
      problem: opened.problem,
    });
  }
  return new Revocations({
    keys: config.revocation.keys,
    localSite: config.site.trustDomain,
    staleMs: config.revocation.staleSeconds * 1000,
    opened,
    ed25519: nodeEd25519,
    clock,
    log,
  });
}

/** A statement takes away what stands on it, and what is remembered of its tokens, before whoever brought it is answered. */
export function followRevocations(
  revocations: Revocations,
  overseer: Overseer,
  sats: SatVerifier,
  record: RecordRevocation | undefined,
): Disposable {
  return revocations.onTaken(async ({ what }, signed) => {
    if (what.kind === 'token') sats.forget({ tokenId: what.token });
    if (what.kind === 'identity') sats.forget({ subject: what.identity });
    const ended = await overseer.revoked(revocations);
    record?.(what, signed, ended);
  });
}

/** Hears feeds, serves one and signs heartbeats, as the configuration has it; until disposed. */
export async function startRevocationFeeds(
  { config, identity, clock, random, ...world }: EnforcerWorld,
  revocations: Revocations,
  svids: SvidVerifier,
): Promise<AsyncDisposable> {
  const { feeds, serve, heartbeat } = config.revocation;
  const log = world.log.child({ part: 'revocation' });
  const tls = { identity, svids, clock };
  await using parts = new AsyncDisposableStack();
  if (heartbeat !== undefined && world.revocations?.problem === undefined) {
    // A gateway that lost its record must not vouch for what is left of it.
    const key = await loadRevocationKey(heartbeat.keyFile);
    parts.use(new Heart(revocations, key, clock, heartbeat.seconds * 1000));
  }
  if (serve !== undefined) {
    const ownDomain = config.site.trustDomain;
    const accepts = serve.allow;
    const service = await serveRevocationFeed({
      tls,
      revocations,
      address: serve.address,
      accepts: (peer) => trustDomainOf(peer) === ownDomain || accepts.some((pattern) => matchesSpiffeId(pattern, peer)),
      log,
    });
    log.info('revocations are served', { port: service.address.port });
    parts.use(service);
  }
  for (const { address, spiffeId } of feeds) {
    parts.use(new RevocationFeedClient({ tls, revocations, address, spiffeId, log, random }));
  }
  return parts.move();
}

/** Says again and again how many statements there are. */
class Heart implements Disposable {
  readonly #revocations: Revocations;
  readonly #key: RevocationKey;
  readonly #clock: Clock;
  readonly #everyMs: number;
  #timer: Timer | undefined;

  constructor(revocations: Revocations, key: RevocationKey, clock: Clock, everyMs: number) {
    this.#revocations = revocations;
    this.#key = key;
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#beat();
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  #beat(): void {
    const { issuer, sign } = this.#key;
    const state = this.#revocations.issuers.find((one) => one.issuer === issuer);
    // Behind, it would say of less than there is that it is all.
    if (state !== undefined && state.stale !== 'behind' && state.stale !== 'forked') {
      const timeMs = Math.floor(this.#clock.now());
      this.#revocations.hear(signHeartbeat({ issuer, number: state.last, timeMs }, sign));
    }
    this.#timer = this.#clock.after(this.#everyMs, () => this.#beat());
  }
}
