/** The length prefix of the console's and the terminators' links: pieces as a socket hands them over, against a reader of the whole. */
import { Socket } from 'node:net';
import { ManualClock } from '../../src/control/fixtures.ts';
import { FramedLink } from '../../src/link/framed.ts';
import { MAX_RECORD_BYTES } from '../../src/link/link.ts';
import { joined, opaque, pieces, sequenceOf } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { alike, holds, type OpenTarget } from '../target.ts';
import { fill } from './examples.ts';

const record = (length: number): Uint8Array =>
  Buffer.concat([Uint8Array.of(0, 0, length >> 8, length & 0xff), fill(7, length)]);

export const open: OpenTarget = async () => ({
  about: 'framed links: the same records whatever the pieces, and an end at the first length that is none',
  covers: ['src/link/framed.ts', 'src/link/inbox.ts'],
  maxBytes: 4_000,
  format: treeFormat(sequenceOf(opaque)),
  dictionary: [
    Uint8Array.of(0, 0, 0, 0),
    Uint8Array.of(0, 1, 0, 0x40),
    Uint8Array.of(0, 1, 0, 0x41),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff),
    record(3),
  ],
  seeds: [
    joined([record(5), record(1), record(300)]),
    joined([...record(9)].map((byte) => Uint8Array.of(byte))),
    joined([Buffer.concat([record(2), record(3), Uint8Array.of(0, 0)]), Uint8Array.of(0, 1, 9)]),
    joined([record(2), Uint8Array.of(0, 0, 0, 0), record(2)]),
  ],
  async run(input) {
    const chunks = pieces(input);
    const socket = new Socket();
    const link = new FramedLink(socket, new ManualClock());
    const got: Uint8Array[] = [];
    let end: string | undefined;
    link.onRecord((one) => got.push(one));
    link.onClose((reason) => {
      end = reason;
    });
    for (const chunk of chunks) socket.emit('data', Buffer.from(chunk));
    const expected = readWhole(Buffer.concat(chunks));
    holds(
      alike(
        got.map((one) => Buffer.from(one)),
        expected.records,
      ),
      'other records than were sent',
    );
    holds(link.isClosed === expected.isBroken, expected.isBroken ? 'a broken link goes on' : 'a good link ended');
    socket.destroy();
    await new Promise((resolve) => socket.once('close', resolve));
    await Promise.resolve();
    const usual = expected.isTorn ? 'CONNECTION_LOST' : 'CLOSED';
    holds(end === (expected.isBroken ? 'MALFORMED' : usual), `ended with ${end}`);
    return `${Math.min(got.length, 4)} ${end}`;
  },
});

function readWhole(bytes: Buffer): {
  readonly records: Buffer[];
  readonly isBroken: boolean;
  readonly isTorn: boolean;
} {
  const records: Buffer[] = [];
  let at = 0;
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt32BE(at);
    if (length === 0 || length > MAX_RECORD_BYTES) return { records, isBroken: true, isTorn: false };
    if (at + 4 + length > bytes.length) break;
    records.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return { records, isBroken: false, isTorn: at < bytes.length };
}
