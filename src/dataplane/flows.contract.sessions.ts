/** The flow contract: posture, the life of a session, what is told and what a reset leaves. */
import { describe, expect, test } from 'vitest';
import { ACK, CONTRACT_SIZES, type FlowScene, ip4, MINUTE, OURS, PEER, SECOND, TCP } from './flows.contract.scene.ts';

export function sessionContract(scene: FlowScene): void {
  const { session, rule, granted, request, answer } = scene;

  describe('posture', () => {
    test.each([
      [3, 5, 'PASS'],
      [2, 5, 'POSTURE'],
      [5, 2, 'POSTURE'],
      [4, 3, 'PASS'],
      [0, 5, 'POSTURE'],
      [6, 5, 'POSTURE'],
      [0xffff_ffff, 5, 'POSTURE'],
    ] as const)('with %i outside and %i inside judges floor 3: %s', async (external, own, verdict) => {
      await granted();
      await scene.on.setExternal(external);
      await scene.on.flows.setPosture(own);
      expect(await scene.on.judge(request())).toBe(verdict);
    });

    test('stops established flows at once, both ways, and lets them go on after', async () => {
      await granted();
      await scene.on.judge(request());
      await scene.on.setExternal(2);
      expect(await scene.on.judge(request({ flags: ACK }))).toBe('POSTURE');
      expect(await scene.on.judge(answer(request()))).toBe('POSTURE');
      await scene.on.setExternal(5);
      expect(await scene.on.judge(answer(request()))).toBe('PASS');
    });

    test('of the peer governs its flows and nobody else’s', async () => {
      await granted();
      const { otherTunnel } = scene.on.interfaces;
      await scene.on.flows.pinSources(otherTunnel, 6, [{ address: ip4(10, 1, 0, 0), length: 16 }]);
      await scene.on.flows.setPeerLevel(6, 5);
      const other = session({ sessionSlot: 4, peerSlot: 6 });
      await scene.on.flows.install(other, [rule({ ifindex: otherTunnel })]);
      await scene.on.flows.activate(other);
      await scene.on.flows.setPeerLevel(5, 2);
      expect(await scene.on.judge(request())).toBe('POSTURE');
      expect(await scene.on.judge(request({ ifindex: otherTunnel }))).toBe('PASS');
    });

    test('of a peer that was never set lets nothing pass', async () => {
      await granted([rule({ floor: 1 })], { peerSlot: 5 });
      const stranger = session({ sessionSlot: 4, peerSlot: 9 });
      await scene.on.flows.pinSources(scene.tunnel, 9, [{ address: ip4(10, 1, 9, 0), length: 24 }]);
      await scene.on.flows.install(stranger, [rule({ floor: 1 })]);
      await scene.on.flows.activate(stranger);
      expect(await scene.on.judge(request({ source: ip4(10, 1, 9, 9) }))).toBe('POSTURE');
    });

    test('is read back raw, and a change of slot 0 is told', async () => {
      const told: number[] = [];
      const heard = new Promise<void>((resolve) => {
        scene.on.flows.onExternalPosture(({ raw }) => {
          told.push(raw);
          resolve();
        });
      });
      await scene.on.flows.setPosture(4);
      await scene.on.setExternal(9);
      await heard;
      expect(told).toEqual([9]);
      expect(await scene.on.flows.posture()).toEqual({ external: 9, own: 4 });
    });
  });

  describe('a session', () => {
    test('passes nothing before it is active', async () => {
      await scene.on.flows.pinSources(scene.tunnel, 5, [{ address: ip4(10, 1, 0, 0), length: 16 }]);
      await scene.on.flows.setPeerLevel(5, 5);
      await scene.on.flows.install(session(), [rule()]);
      expect(await scene.on.judge(request())).toBe('SESSION_INACTIVE');
    });

    test('passes nothing after it is deactivated, established or not', async () => {
      await granted();
      await scene.on.judge(request());
      await scene.on.flows.deactivate(3);
      await scene.on.flows.deactivate(3);
      expect(await scene.on.judge(request())).toBe('SESSION_INACTIVE');
      expect(await scene.on.judge(answer(request()))).toBe('SESSION_INACTIVE');
    });

    test('passes nothing past its deadline, and may be extended', async () => {
      await granted();
      await scene.on.judge(request());
      await scene.on.flows.extend(3, 7, scene.on.now() - SECOND);
      expect(await scene.on.judge(answer(request()))).toBe('SESSION_EXPIRED');
      await scene.on.flows.extend(3, 7, scene.on.now() + MINUTE);
      expect(await scene.on.judge(answer(request()))).toBe('PASS');
    });

    test('passes nothing past the node’s lease', async () => {
      await granted();
      await scene.on.judge(request());
      await scene.on.flows.renewLease(scene.on.now() - SECOND);
      expect(await scene.on.judge(request())).toBe('LEASE_EXPIRED');
      expect(await scene.on.judge(answer(request()))).toBe('LEASE_EXPIRED');
    });

    test('does not inherit the flows of the slot’s former generation', async () => {
      await granted();
      await scene.on.judge(request());
      await scene.on.flows.remove(3, [rule()]);
      await granted([rule({ port: 444 })], { generation: 8 });
      expect(await scene.on.judge(answer(request()))).toBe('NO_FLOW');
      await expect(scene.on.flows.extend(3, 7, scene.on.now() + MINUTE)).rejects.toThrow('DATAPLANE_FAILED');
      await expect(scene.on.flows.activate(session({ generation: 7 }))).rejects.toThrow('DATAPLANE_FAILED');
    });

    test('removed leaves no policy and no live flow, twice', async () => {
      await granted([rule(), rule({ destination: { address: ip4(10, 2, 0, 0), length: 16 } })]);
      await scene.on.judge(request());
      expect(await scene.on.entries()).toMatchObject({ policies: 2, live: 1 });
      await scene.on.flows.remove(3, [rule()]);
      await scene.on.flows.remove(3, [rule()]);
      expect(await scene.on.entries()).toMatchObject({ policies: 0, live: 0 });
      expect(await scene.on.judge(answer(request()))).toBe('NO_FLOW');
    });

    test('that takes another’s place takes its flows over, and gives them back when it goes', async () => {
      await granted();
      await scene.on.judge(request());
      const next = session({ sessionSlot: 4, generation: 1 });
      await scene.on.flows.install(next, [rule()]);
      expect(await scene.on.judge(request({ sourcePort: 2 }))).toBe('PASS');
      await scene.on.flows.activate(next);
      await scene.on.flows.remove(3, [rule()]);
      expect(await scene.on.judge(request())).toBe('PASS');
      expect(await scene.on.judge(answer(request()))).toBe('PASS');
      await granted();
      await scene.on.flows.remove(4, [rule()]);
      expect(await scene.on.judge(request())).toBe('PASS');
    });

    test('with too many rules is refused whole: DATAPLANE_FULL, and others stay', async () => {
      await granted();
      const before = await scene.on.entries();
      const many = Array.from({ length: CONTRACT_SIZES.rules + 1 }, (_, n) => rule({ port: 1000 + n }));
      const greedy = session({ sessionSlot: 4 });
      await expect(scene.on.flows.install(greedy, many)).rejects.toThrow('DATAPLANE_FULL');
      expect(await scene.on.entries()).toEqual(before);
      expect(await scene.on.judge(request())).toBe('PASS');
      await expect(scene.on.flows.activate(greedy)).rejects.toThrow('DATAPLANE_FAILED');
    });

    test.each([
      ['host bits', { destination: { address: OURS, length: 16 } }],
      [
        'a prefix of mapped addresses',
        { destination: { address: Uint8Array.of(...new Uint8Array(10), 255, 255, 0, 0, 0, 0), length: 96 } },
      ],
      ['floor 0', { floor: 0 }],
      ['a port beyond 65535', { port: 65_536 }],
      ['a protocol that cannot be judged', { protocol: 47 }],
    ])('with %s is refused', async (_, changes) => {
      await expect(scene.on.flows.install(session(), [rule(changes)])).rejects.toThrow('DATAPLANE_FAILED');
      expect(await scene.on.entries()).toMatchObject({ policies: 0 });
    });

    test('is counted', async () => {
      await granted();
      await scene.on.judge(request());
      await scene.on.judge(answer(request()));
      await scene.on.flows.setPosture(2);
      await scene.on.judge(request());
      expect(await scene.on.flows.counters(3)).toMatchObject({ packets: 2n, denied: 1n });
    });
  });

  test('a denial says what was dropped and why', async () => {
    const heard = scene.on.denialTo(7);
    await scene.on.judge(request({ destinationPort: 7 }));
    expect(await heard).toMatchObject({
      cause: 'SOURCE_NOT_PINNED',
      ifindex: scene.tunnel,
      direction: 'in',
      protocol: TCP,
      source: Uint8Array.from(PEER),
      destination: Uint8Array.from(OURS),
      sourcePort: 40_000,
      destinationPort: 7,
    });
  });

  test('reset leaves nothing, and the posture as it was', async () => {
    await granted();
    await scene.on.judge(request());
    await scene.on.setExternal(4);
    await scene.on.flows.setPosture(3);
    await scene.on.flows.reset();
    expect(await scene.on.entries()).toEqual({ policies: 0, live: 0, sources: 0 });
    expect(await scene.on.flows.posture()).toEqual({ external: 4, own: 3 });
    await scene.on.flows.attach({ ifindex: scene.tunnel, kind: 'tunnel' });
    await scene.on.flows.renewLease(scene.on.now() + MINUTE);
    expect(await scene.on.judge(answer(request()))).toBe('NO_FLOW');
  });
}
