/** Mutations of the underlay as evidence: the intent is in the log before the kernel is touched. */

import { MutationKind, Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { REASONS } from '../../protocol/reasons.ts';
import { type RouteSpec, routeWords } from '../../protocol/routes/index.ts';
import type { Recording } from '../evidence/recorder.ts';
import type { Mutation, MutationWitness } from '../underlay/ports.ts';
import type { NodeEvidence } from './evidence.ts';

type MutationValue = Extract<Recording, { case: 'networkMutation' }>['value'];

export interface MutationWitnessParts {
  readonly store: Pick<NodeEvidence['store'], 'record'>;
  readonly accordHash: Uint8Array;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** Governed routes as the kernel has them now. */
  readonly routes: () => Promise<readonly RouteSpec[]>;
}

/**
 * Of a mutation that a crash cut off evidence has an open intent, which its own reconciliation compensates: here nothing is
 * said of it.
 */
export function mutationWitness({ store, accordHash, sha256, routes }: MutationWitnessParts): MutationWitness {
  const stateHash = async (): Promise<Uint8Array> => {
    const words = (await routes()).map((route) => `${routeWords(route)}\n`).sort();
    return sha256(Buffer.from(words.join('')));
  };
  const open = new Map<string, { readonly value: MutationValue; readonly intent: bigint }>();
  return {
    intent: async (mutation) => {
      const value = { ...facts(mutation), accordHash, beforeHash: await stateHash(), phase: Phase.INTENT };
      const { at } = await store.record({ case: 'networkMutation', value });
      open.set(mutation.id, { value, intent: BigInt(Math.max(at, 0)) });
    },
    outcome: async ({ id }, outcome) => {
      const opened = open.get(id);
      if (opened === undefined) return;
      open.delete(id);
      const reason = outcome.kind === 'failed' ? REASONS[outcome.reason].code : 0;
      // That it cannot be read back is no reason to say nothing.
      const read = await stateHash().then(
        (afterHash) => ({ afterHash }),
        () => ({}),
      );
      const value = { ...opened.value, ...read, phase: Phase.OUTCOME, intent: opened.intent, reason };
      await store.record({ case: 'networkMutation', value });
    },
  };
}

function facts({ id, action, route, by }: Mutation): MutationValue {
  const { destination, link, gateway, table, metric } = route;
  return {
    mutationId: Buffer.from(id, 'hex'),
    actorId: by.subject,
    kind: action === 'add' ? MutationKind.ROUTES_ADDED : MutationKind.ROUTES_REMOVED,
    routes: [
      { destination, interface: link, table, metric: metric ?? 0, ...(gateway === undefined ? {} : { gateway }) },
    ],
  };
}
