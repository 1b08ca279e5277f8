/** Who in the overlay has which key and which prefixes. A thousand members cost the next one no more than one does. */
import type { Prefix } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatPrefix, prefixesOverlap } from '../../protocol/net/prefix.ts';
import { AllowedIps } from '../dataplane/allowed-ips.ts';
import type { Translation } from '../dataplane/ports.ts';
import { keyText } from '../dataplane/tunnel-rules.ts';
import type { Member, MemberSpec } from './member.ts';

/** In the place of a member's number; those begin with 1. */
const OURS = 0;
const NOBODY = -1;

export interface OwnClaims {
  readonly publicKey: Uint8Array;
  /** What is ours in the tunnel. */
  readonly prefixes: readonly Prefix[];
  /** Prefixes of ours that are others in the tunnel. */
  readonly translations: readonly Translation[];
}

export class Claims {
  readonly #keys = new Map<string, number>();
  readonly #prefixes = new AllowedIps();
  /** What is no address of ours in the tunnel. */
  readonly #internals: readonly Prefix[];

  constructor({ publicKey, prefixes, translations }: OwnClaims) {
    this.#internals = translations.map(({ internal }) => internal);
    this.#keys.set(keyText(publicKey), OURS);
    this.#prefixes.claim(String(OURS), [
      ...prefixes,
      ...translations.flatMap(({ internal, external }) => [internal, external]),
    ]);
  }

  /**
   * @param own number of whom the claimant takes the place of
   * @throws ShellstreamError WIREGUARD_KEY_TAKEN, PREFIX_OVERLAP, TARGET_NOT_ALLOWED
   */
  check(spec: MemberSpec, own: number = NOBODY): void {
    this.#refuseForeignKey(spec, own);
    this.#refuseOverlap(spec, own);
    this.#refuseInternal(spec);
  }

  isTaken(publicKey: Uint8Array): boolean {
    return this.#keys.has(keyText(publicKey));
  }

  enter({ number, spec }: Member): void {
    this.#keys.set(keyText(spec.publicKey), number);
    this.#prefixes.claim(String(number), spec.prefixes);
  }

  strike({ number, spec }: Member): void {
    this.#keys.delete(keyText(spec.publicKey));
    this.#prefixes.release(String(number));
  }

  /** A WireGuard peer under somebody else's key would take that one's tunnel: refused, never moved. */
  #refuseForeignKey({ publicKey, spiffeId }: MemberSpec, own: number): void {
    const owner = this.#keys.get(keyText(publicKey));
    if (owner === undefined || owner === own) return;
    throw new ShellstreamError('WIREGUARD_KEY_TAKEN', undefined, { fields: { peer: spiffeId } });
  }

  /** WireGuard gives an allowed IP to whoever claimed it last; we give it to whoever had it first. */
  #refuseOverlap({ prefixes, spiffeId }: MemberSpec, own: number): void {
    const clash = prefixes.find((prefix) => this.#prefixes.conflict(String(own), prefix) !== undefined);
    if (clash === undefined) return;
    throw new ShellstreamError('PREFIX_OVERLAP', formatPrefix(clash), { fields: { peer: spiffeId } });
  }

  /** Who came for it would be answered from another address, and could tell what we have inside. */
  #refuseInternal({ hosted }: MemberSpec): void {
    const internal = hosted.find(({ prefix }) => this.#internals.some((one) => prefixesOverlap(one, prefix)));
    if (internal === undefined) return;
    throw new ShellstreamError(
      'TARGET_NOT_ALLOWED',
      `${formatPrefix(internal.prefix)} has another prefix in the tunnel`,
    );
  }
}
