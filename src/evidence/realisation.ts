/**
 * Which nodes realised a level, by receipts from however many logs: the newest of each node that is to be believed. The
 * certificate that comes with a receipt proves nothing by itself: whoever forges one makes it along.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseStatement } from '../../protocol/evidence/index.ts';
import type {
  EnforcementReceipt,
  EnforcementStatement,
} from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { parseSpiffeId, type SpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { TrustBundles } from '../identity/index.ts';
import { readReceipt, verifyReceipt } from './receipts.ts';

export type Belief =
  /** A bundle that was given vouches for the node that signed. */
  | { readonly kind: 'proven'; readonly statement: EnforcementStatement }
  /** The certificate that came along signed it; of its trust domain no bundle was given. */
  | { readonly kind: 'unproven'; readonly statement: EnforcementStatement }
  | { readonly kind: 'forged'; readonly node: string; readonly why: string };

export function believe(receipt: EnforcementReceipt, bundles: TrustBundles): Belief {
  let node = '';
  try {
    node = parseStatement(receipt).nodeId;
    const id = parseSpiffeId(node);
    if (id !== undefined && bundles.x509.has(trustDomainOf(id))) {
      return { kind: 'proven', statement: verifyReceipt(receipt, bundles) };
    }
    const { statement, isSigned } = readReceipt(receipt);
    return isSigned
      ? { kind: 'unproven', statement }
      : { kind: 'forged', node, why: 'its own certificate did not sign it' };
  } catch (error) {
    if (error instanceof ShellstreamError) return { kind: 'forged', node, why: error.message };
    throw error;
  }
}

export interface NodeRealisation<Place> {
  readonly node: string;
  readonly statement: EnforcementStatement;
  readonly isProven: boolean;
  readonly place: Place;
}

/** What is not as it was to be. */
export type Shortfall =
  | { readonly kind: 'no receipt'; readonly node: string }
  | { readonly kind: 'another level'; readonly node: string; readonly level: number }
  | { readonly kind: 'in part'; readonly node: string; readonly notRealised: readonly string[] }
  | { readonly kind: 'forged'; readonly node: string; readonly why: string };

export class Realisation<Place> {
  readonly #bundles: TrustBundles;
  readonly #newest = new Map<string, NodeRealisation<Place>>();
  readonly #forged: { readonly node: string; readonly why: string }[] = [];

  constructor(bundles: TrustBundles) {
    this.#bundles = bundles;
  }

  /** In any order, each from the log at `place`. */
  add(receipt: EnforcementReceipt, place: Place): Belief {
    const belief = believe(receipt, this.#bundles);
    if (belief.kind === 'forged') {
      if (this.#forged.length < MOST_FORGED) this.#forged.push(belief);
      return belief;
    }
    const { statement } = belief;
    const former = this.#newest.get(statement.nodeId);
    const isProven = belief.kind === 'proven';
    // What nobody vouches for does not hide what a bundle does.
    const isNewer =
      former === undefined ||
      (isProven && !former.isProven) ||
      (isProven === former.isProven && isLater(statement, former.statement));
    if (isNewer) this.#newest.set(statement.nodeId, { node: statement.nodeId, statement, isProven, place });
    return belief;
  }

  get nodes(): readonly NodeRealisation<Place>[] {
    return [...this.#newest.values()].sort((one, other) => (one.node < other.node ? -1 : 1));
  }

  /** @param expected nodes that must have realised it, proven. @param level which; undefined: whichever is their newest */
  shortfalls(expected: readonly SpiffeId[], level?: PostureLevel): readonly Shortfall[] {
    const forged = this.#forged.map((one): Shortfall => ({ kind: 'forged', ...one }));
    return [...expected.flatMap((node) => this.#shortfallOf(node, level)), ...forged];
  }

  #shortfallOf(node: SpiffeId, level: PostureLevel | undefined): readonly Shortfall[] {
    const found = this.#newest.get(node);
    if (found === undefined || !found.isProven) return [{ kind: 'no receipt', node }];
    const { statement } = found;
    if (level !== undefined && statement.level !== level)
      return [{ kind: 'another level', node, level: statement.level }];
    if (statement.notRealised.length > 0) return [{ kind: 'in part', node, notRealised: statement.notRealised }];
    return [];
  }
}

/** By the node's own epochs, which only grow; its clock may have been put back. */
function isLater(one: EnforcementStatement, other: EnforcementStatement): boolean {
  return one.epoch === other.epoch ? one.atMs > other.atMs : one.epoch > other.epoch;
}

const MOST_FORGED = 100;
