import { expect, test } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import { MutationKind, Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { REASONS } from '../../protocol/reasons.ts';
import type { RouteSpec } from '../../protocol/routes/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { Recording } from '../evidence/recorder.ts';
import type { Mutation } from '../underlay/ports.ts';
import { mutationWitness } from './mutation-witness.ts';

const OWNER = { subject: 'uid:0', tier: 'site_owner' } as const;
const MUTATION: Mutation = {
  id: '0a'.repeat(16),
  action: 'add',
  route: { destination: parsePrefix('10.5.0.0/24'), link: 'lan', table: 254 },
  class: 'ordinary',
  owner: OWNER,
  by: OWNER,
  reason: 'drill',
  level: 5,
  atMs: 0,
};

function scene(failure?: Error) {
  const recorded: Recording[] = [];
  const record = async (body: Recording) => {
    if (failure !== undefined) throw failure;
    recorded.push(body);
    return { in: 'log', at: 41 + recorded.length } as const;
  };
  const routes: RouteSpec[] = [];
  const witness = mutationWitness({
    store: { record },
    accordHash: new Uint8Array(32),
    sha256: (bytes) => nodeCrypto.sha256(bytes),
    routes: async () => routes,
  });
  return { witness, recorded, routes };
}

test('an outcome names its intent’s place in the log, and why it failed', async () => {
  const { witness, recorded } = scene();
  await witness.intent(MUTATION);
  await witness.outcome(MUTATION, { kind: 'failed', reason: 'DATAPLANE_FAILED', detail: '' });
  expect(recorded).toMatchObject([
    { case: 'networkMutation', value: { phase: Phase.INTENT, kind: MutationKind.ROUTES_ADDED, actorId: 'uid:0' } },
    { value: { phase: Phase.OUTCOME, intent: 42n, reason: REASONS.DATAPLANE_FAILED.code } },
  ]);
});

test('both tell the state by its hash: as it was, and as it was read back', async () => {
  const { witness, recorded, routes } = scene();
  await witness.intent(MUTATION);
  routes.push({ ...MUTATION.route, destination: parsePrefix('10.6.0.0/24') }, MUTATION.route);
  await witness.outcome(MUTATION, { kind: 'done' });
  const line = (prefix: string): string => `${prefix} table 254 metric 0 dev lan\n`;
  const hashOf = (words: string): Uint8Array => nodeCrypto.sha256(Buffer.from(words));
  expect(recorded).toMatchObject([
    { value: { beforeHash: hashOf('') } },
    { value: { beforeHash: hashOf(''), afterHash: hashOf(`${line('10.5.0.0/24')}${line('10.6.0.0/24')}`) } },
  ]);
});

test('an intent that cannot be kept refuses the mutation with its reason', async () => {
  const { witness } = scene(new ShellstreamError('EVIDENCE_FULL'));
  await expect(witness.intent(MUTATION)).rejects.toThrow('EVIDENCE_FULL');
});

test('of a mutation of a former run nothing is said: evidence compensates its intent itself', async () => {
  const { witness, recorded } = scene();
  await witness.outcome(MUTATION, { kind: 'undone' });
  expect(recorded).toEqual([]);
});
