/** Records as an auditor gets them from whoever holds the log: refused, or read as something that is written the same again. */
import { encodeArtifact, MAX_RECORD_BYTES, parseArtifact } from '../../protocol/evidence/artifact.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { Mode, SessionType } from '../../protocol/gen/shellstream/wire/v1/wire_pb.ts';
import { consoleUse, mutation, transit } from '../../src/evidence/fixtures.ts';
import { protobuf } from '../formats/protobuf.ts';
import { treeFormat } from '../formats/tree.ts';
import { alike, attempt, holds, type OpenTarget } from '../target.ts';
import { fill } from './examples.ts';

const HEAD = { atMs: 1_700_000_000_000n, postureLevel: 3, postureEpoch: 4n };
const ID = fill(1, 16);

export const open: OpenTarget = async () => ({
  about: 'records of the evidence log: bounded, and read back the same',
  covers: ['protocol/evidence/artifact.ts', 'protocol/wire/'],
  maxBytes: 20_000,
  format: treeFormat(protobuf),
  dictionary: ['spiffe://beta.example/gateway', Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f), fill(2)],
  seeds: [
    encodeArtifact({ ...HEAD, body: transit(1) }),
    encodeArtifact({ ...HEAD, body: transit(1, Phase.OUTCOME) }),
    encodeArtifact({
      ...HEAD,
      body: {
        case: 'sessionTransit',
        value: {
          phase: Phase.OUTCOME,
          sessionId: ID,
          postureLevelAtTransit: 3,
          accordHash: fill(2),
          sessionType: SessionType.OPERATOR,
          mode: Mode.OVERLAY,
          counters: [{ countedBy: 2, streams: 3, receivedBytes: 4n, sentBytes: 5n, incomplete: true }],
        },
      },
    }),
    encodeArtifact({ ...HEAD, body: mutation(2) }),
    encodeArtifact({ ...HEAD, body: consoleUse }),
    encodeArtifact({
      ...HEAD,
      body: {
        case: 'consoleUse',
        value: {
          verb: 'status',
          argumentsHash: fill(5),
          payloadHash: fill(6),
          frameHeaders: fill(0, 8),
          frames: 2,
          look: true,
        },
      },
    }),
    encodeArtifact({
      ...HEAD,
      body: {
        case: 'postureChange',
        value: { fromLevel: 5, toLevel: 3, observer: 1, source: 'console', failedSteps: ['routes'] },
      },
    }),
    encodeArtifact({
      ...HEAD,
      body: {
        case: 'forensicSnapshot',
        value: { snapshotId: ID, parts: [fill(3)], sessions: 1, changeEpoch: 9n, late: true },
      },
    }),
    encodeArtifact({
      ...HEAD,
      body: {
        case: 'snapshotPart',
        value: {
          snapshotId: ID,
          peers: [{ peerId: 'spiffe://beta.example/gateway', level: 3, held: true }],
          tunnels: [{ interface: 'shs0', publicKey: fill(4), endpoint: fill(10, 4), endpointPort: 51_840 }],
          sessions: [{ sessionId: ID, peerId: 'spiffe://beta.example/x', tier: 2, pending: true }],
        },
      },
    }),
  ],
  run(input) {
    const read = attempt({ reasons: ['MALFORMED'] }, () => parseArtifact(input));
    if ('refusal' in read) return read.refusal;
    holds(input.length <= MAX_RECORD_BYTES, 'a record over the limit');
    holds(alike(parseArtifact(encodeArtifact(read.value)), read.value), 'what was read is not what it is written as');
    return `taken ${read.value.body.case}`;
  },
});
