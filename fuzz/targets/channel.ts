/**
 * The machine of an open session, driven by a program: the input is pieces (see formats/sequence.ts), each one step with an
 * operation in its first byte. With the lowest bit of the first piece set, the peer is a second channel and both are honest:
 * then neither may ever accuse the other. Otherwise the peer's frames are the input's own.
 */
import { encodeFrame } from '../../protocol/channel/frames.ts';
import { protobuf } from '../formats/protobuf.ts';
import { joined, pieces, sequenceOf } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import type { OpenTarget } from '../target.ts';
import { HonestPair } from './channel-pair.ts';
import { HostilePeer } from './channel-peer.ts';
import { FRAMES } from './examples.ts';

const OPERATIONS = 16;

export const open: OpenTarget = async () => {
  const frames = FRAMES.map((frame) => Uint8Array.of(0, 0, ...encodeFrame(frame)));
  const [openFrame, data, credit, finish, reset] = frames.slice(7, 12);
  const step = (operation: number, ...rest: number[]): Uint8Array => Uint8Array.of(operation, 0, ...rest);
  const all = [0, 1].map((flag) => Uint8Array.of(flag));
  const some = (...list: (Uint8Array | undefined)[]): Uint8Array[] => list.filter((one) => one !== undefined);
  const everything = Array.from({ length: OPERATIONS }, (_, at) => step(at, 1, 2, 3));
  return {
    about: 'a channel under a program of frames and calls: windows, order and the end hold; honest peers never quarrel',
    covers: ['protocol/channel/'],
    maxBytes: 6_000,
    format: treeFormat(sequenceOf(protobuf, 3)),
    dictionary: Array.from({ length: OPERATIONS }, (_, at) => Uint8Array.of(0, 5, at, 0, 1, 2, 3)),
    seeds: [
      joined([...all.slice(0, 1), ...frames.slice(1, 14), step(8)]),
      joined([
        ...all.slice(0, 1),
        ...some(openFrame),
        step(9, 1),
        step(8),
        ...some(data),
        step(10),
        step(8),
        ...some(finish),
        step(8),
      ]),
      joined([
        ...all.slice(0, 1),
        step(11),
        step(8),
        step(12, 0, 200),
        ...some(credit),
        step(8),
        ...some(reset),
        step(15),
      ]),
      joined([...all.slice(1), ...everything, ...everything, step(8), step(9), step(8)]),
      joined([
        ...all.slice(1),
        step(11),
        step(8),
        step(9, 1),
        step(8),
        step(12, 0, 255),
        step(8),
        step(10),
        step(13, 0),
        step(8),
        step(15, 1),
        step(8),
      ]),
    ],
    run(input) {
      const [head, ...steps] = pieces(input);
      const isPair = ((head?.[0] ?? 0) & 1) === 1;
      const driver = isPair
        ? new HonestPair()
        : new HostilePeer(((head?.[0] ?? 0) & 2) === 0 ? 'initiator' : 'responder');
      for (const one of steps) driver.step((one[0] ?? 0) % OPERATIONS, one.subarray(1));
      return `${isPair ? 'pair' : 'peer'} ${driver.finish()}`;
    },
  };
};
