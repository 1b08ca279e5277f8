/** The flow contract: packets of one peer that go on to another through us. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { TcpPacket } from './flow-packet.ts';
import { type FlowScene, ip4, MINUTE } from './flows.contract.scene.ts';

/** `granted` has PEER, of 10.1.0.0/16, at peer slot 5. */
const BEYOND = ip4(10, 3, 0, 7);
const BEYOND_PREFIX = { address: ip4(10, 3, 0, 0), length: 16 };
const [PEER_SLOT, BEYOND_SLOT] = [5, 6];

export function forwardContract(scene: FlowScene): void {
  const { rule, granted, request, answer } = scene;

  describe('a packet of one peer for another', () => {
    let arrives: TcpPacket;
    let leaves: TcpPacket;

    /** The peer may reach the other one's host here, and we may reach it there. */
    beforeEach(async () => {
      const { flows, now } = scene.on;
      await granted([rule({ destination: { address: BEYOND, length: 32 } })]);
      await flows.pinSources(scene.tunnel, BEYOND_SLOT, [BEYOND_PREFIX]);
      await flows.setPeerLevel(BEYOND_SLOT, 5);
      const session = { sessionSlot: 4, generation: 2, peerSlot: BEYOND_SLOT, expiresAtBootNs: now() + MINUTE };
      await flows.install(session, [rule({ direction: 'out', destination: { address: BEYOND, length: 32 } })]);
      await flows.activate(session);
      arrives = request({ destination: BEYOND });
      leaves = { ...arrives, direction: 'out', cameBy: scene.tunnel };
    });

    const opens = async (): Promise<readonly string[]> => [
      await scene.on.judge(arrives),
      await scene.on.judge(leaves),
      await scene.on.judge(answer({ ...arrives, direction: 'out' })),
      await scene.on.judge({ ...answer(arrives), cameBy: scene.tunnel }),
    ];

    test('stays here unless that is allowed, whatever either grant says', async () => {
      expect(await scene.on.judge(arrives)).toBe('PASS');
      expect(await scene.on.judge(leaves)).toBe('NOT_FORWARDED');
    });

    test('goes on once it is allowed, and its answer comes back', async () => {
      await scene.on.flows.setForwards([{ from: PEER_SLOT, to: BEYOND_SLOT }]);
      expect(await opens()).toEqual(['PASS', 'PASS', 'PASS', 'PASS']);
    });

    test('stays here when only the other direction is allowed, or it is allowed no longer', async () => {
      await scene.on.flows.setForwards([{ from: BEYOND_SLOT, to: PEER_SLOT }]);
      expect(await scene.on.judge(leaves)).toBe('NOT_FORWARDED');
      await scene.on.flows.setForwards([{ from: PEER_SLOT, to: BEYOND_SLOT }]);
      await scene.on.flows.setForwards([]);
      expect(await scene.on.judge(leaves)).toBe('NOT_FORWARDED');
    });

    test('under a source that is nobody’s, as after a translation of addresses, stays here', async () => {
      await scene.on.flows.setForwards([{ from: PEER_SLOT, to: BEYOND_SLOT }]);
      expect(await scene.on.judge({ ...leaves, source: ip4(10, 9, 0, 1) })).toBe('NOT_FORWARDED');
    });

    test('that this host sends itself needs no such leave', async () => {
      expect(await scene.on.judge(request({ direction: 'out', source: ip4(10, 9, 0, 1), destination: BEYOND }))).toBe(
        'PASS',
      );
    });

    test.each([
      ['its sender', PEER_SLOT],
      ['its receiver', BEYOND_SLOT],
    ])('stops with the level of %s, established or not', async (_, slot) => {
      await scene.on.flows.setForwards([{ from: PEER_SLOT, to: BEYOND_SLOT }]);
      await opens();
      await scene.on.flows.setPeerLevel(slot, 2);
      expect(await opens()).toContain('POSTURE');
      await scene.on.flows.setPeerLevel(slot, 3);
      expect(await opens()).toEqual(['PASS', 'PASS', 'PASS', 'PASS']);
    });

    test.each([
      ['its sender', 3],
      ['its receiver', 4],
    ])('stops with the session of %s', async (_, slot) => {
      await scene.on.flows.setForwards([{ from: PEER_SLOT, to: BEYOND_SLOT }]);
      await opens();
      await scene.on.flows.deactivate(slot);
      expect(await opens()).toContain('SESSION_INACTIVE');
    });
  });
}
