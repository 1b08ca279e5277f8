import type { MessageInitShape } from '@bufbuild/protobuf';
import { expect, it } from 'vitest';
import { encodeArtifact } from '../../protocol/evidence/index.ts';
import { CountedBy, type CountersSchema, Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { Mode, SessionType } from '../../protocol/gen/shellstream/wire/v1/wire_pb.ts';
import { countedIn, describeCounted } from './counted.ts';

const { KERNEL, TERMINATOR } = CountedBy;

it('sums what the kernel counted and what terminators say apart, and tells where there was more', () => {
  const counted = countedIn([
    ended({ countedBy: KERNEL, packets: 2n, bytes: 100n }),
    ended({ countedBy: CountedBy.UNSPECIFIED, packets: 1n, bytes: 20n }),
    ended({ countedBy: TERMINATOR, streams: 1, receivedBytes: 7n, sentBytes: 9n }),
    ended({ countedBy: TERMINATOR, streams: 1, receivedBytes: 1n, sentBytes: 0n, incomplete: true }),
    { salt: new Uint8Array(16), record: Uint8Array.of(255) },
  ]);
  expect(counted).toMatchObject([
    { by: 'kernel', sessions: 2, bytes: 120n, incomplete: 0 },
    { by: 'terminator', sessions: 2, receivedBytes: 8n, sentBytes: 9n, incomplete: 1 },
  ]);
  expect(describeCounted(counted)).toEqual([
    ['counted by kernel', '120 bytes of 2 sessions'],
    ['counted by terminator', '8 bytes received, 9 sent, of 2 sessions; of 1 at least, whose terminator died'],
  ]);
});

function ended(counters: MessageInitShape<typeof CountersSchema>) {
  const transit = {
    phase: Phase.OUTCOME,
    sessionId: new Uint8Array(16),
    postureLevelAtTransit: 5,
    accordHash: new Uint8Array(32),
    sessionType: SessionType.OPERATOR,
    mode: Mode.OVERLAY,
    counters: [counters],
  };
  const head = { atMs: 1n, postureLevel: 5, postureEpoch: 1n };
  return {
    salt: new Uint8Array(16),
    record: encodeArtifact({ ...head, body: { case: 'sessionTransit', value: transit } }),
  };
}
