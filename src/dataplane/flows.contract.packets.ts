/** The flow contract: which packets pass, who tries to slip in, and what live flows cost. */
import { describe, expect, test } from 'vitest';
import {
  ACK,
  CONTRACT_SIZES,
  FIN_ACK,
  type FlowScene,
  ICMP,
  ICMPV6,
  ip4,
  MINUTE,
  OURS,
  OURS6,
  PEER,
  PEER6,
  SECOND,
  UDP,
} from './flows.contract.scene.ts';

export function packetContract(scene: FlowScene): void {
  const { rule, granted, request, answer } = scene;

  describe('a granted flow', () => {
    test('passes, and its answer passes', async () => {
      await granted();
      expect(await scene.on.judge(request())).toBe('PASS');
      expect(await scene.on.judge(answer(request()))).toBe('PASS');
      expect(await scene.on.judge(request({ flags: ACK }))).toBe('PASS');
    });

    test('does not let an answer pass that nobody asked for', async () => {
      await granted();
      expect(await scene.on.judge(answer(request()))).toBe('NO_FLOW');
    });

    test.each([
      ['another port', { destinationPort: 444 }],
      ['another host', { destination: ip4(10, 2, 0, 9) }],
      ['the way back', { direction: 'out' as const, source: OURS, destination: PEER }],
    ])('drops %s', async (_, changes) => {
      await granted();
      expect(await scene.on.judge(request(changes))).toBe('NO_FLOW');
    });

    test('drops another protocol, and one that nothing can grant', async () => {
      await granted();
      expect(await scene.on.judge({ ...request(), kind: 'udp' })).toBe('NO_FLOW');
      expect(await scene.on.judge({ ...request(), kind: 'other', protocol: 47 })).toBe('NO_FLOW');
    });

    test('holds on its own interface only', async () => {
      await granted();
      expect(await scene.on.judge(request({ ifindex: scene.on.interfaces.otherTunnel }))).toBe('SOURCE_NOT_PINNED');
    });

    test('that we asked for passes outwards without a pinned source, and is answered', async () => {
      await granted([rule({ direction: 'out', destination: { address: PEER, length: 32 } })]);
      const out = request({ direction: 'out', source: OURS, destination: PEER });
      expect(await scene.on.judge(out)).toBe('PASS');
      expect(await scene.on.judge(answer(out))).toBe('PASS');
    });

    test('over IPv6 passes and is answered', async () => {
      await granted([rule({ destination: { address: OURS6, length: 128 } })]);
      const packet = request({ source: PEER6, destination: OURS6 });
      expect(await scene.on.judge(packet)).toBe('PASS');
      expect(await scene.on.judge(answer(packet))).toBe('PASS');
      expect(await scene.on.judge({ ...packet, destinationPort: 22 })).toBe('NO_FLOW');
    });

    test.each([
      [
        'a prefix and one port',
        { destination: { address: ip4(10, 2, 0, 0), length: 16 } },
        { destination: ip4(10, 2, 9, 9) },
      ],
      ['a host and any port', { port: 0 }, { destinationPort: 9 }],
      [
        'a prefix and any port',
        { destination: { address: ip4(10, 2, 0, 0), length: 15 }, port: 0 },
        { destination: ip4(10, 3, 1, 1) },
      ],
    ])('may be %s', async (_, ruled, sent) => {
      await granted([rule(ruled)]);
      expect(await scene.on.judge(request(sent))).toBe('PASS');
      expect(await scene.on.judge(request({ ...sent, destination: ip4(10, 9, 0, 1) }))).toBe('NO_FLOW');
    });

    test('of UDP and of ping passes both ways, a ping only when it asks', async () => {
      await granted([rule({ protocol: UDP, port: 53 }), rule({ protocol: ICMP, port: 0 })]);
      const query = { ...request({ destinationPort: 53 }), kind: 'udp' as const };
      expect(await scene.on.judge(query)).toBe('PASS');
      const ping = {
        kind: 'echo-request' as const,
        ifindex: scene.tunnel,
        direction: 'in' as const,
        source: PEER,
        destination: OURS,
        identifier: 9,
      };
      const pong = { ...ping, kind: 'echo-reply' as const, direction: 'out' as const, source: OURS, destination: PEER };
      expect(await scene.on.judge(pong)).toBe('NO_FLOW');
      expect(await scene.on.judge({ ...ping, kind: 'echo-reply' })).toBe('NO_FLOW');
      expect(await scene.on.judge(ping)).toBe('PASS');
      expect(await scene.on.judge(pong)).toBe('PASS');
      expect(await scene.on.judge({ ...pong, identifier: 10 })).toBe('NO_FLOW');
    });

    test('takes ping over IPv6 by its own protocol number', async () => {
      await granted([rule({ protocol: ICMPV6, port: 0, destination: { address: OURS6, length: 128 } })]);
      const ping = {
        kind: 'echo-request' as const,
        ifindex: scene.tunnel,
        direction: 'in' as const,
        source: PEER6,
        destination: OURS6,
        identifier: 9,
      };
      expect(await scene.on.judge(ping)).toBe('PASS');
    });
  });

  describe('an attacker', () => {
    test('with a forged source is dropped', async () => {
      await granted();
      expect(await scene.on.judge(request({ source: ip4(10, 9, 0, 2) }))).toBe('SOURCE_NOT_PINNED');
    });

    test('on another peer’s address gets nothing of this peer’s grants', async () => {
      await granted();
      await scene.on.flows.pinSources(scene.tunnel, 6, [{ address: ip4(10, 1, 7, 0), length: 24 }]);
      await scene.on.flows.setPeerLevel(6, 5);
      expect(await scene.on.judge(request({ source: ip4(10, 1, 7, 2) }))).toBe('NO_FLOW');
    });

    test('loses its address when it is unpinned', async () => {
      await granted();
      await scene.on.flows.unpinSources(scene.tunnel, [{ address: ip4(10, 1, 0, 0), length: 16 }]);
      expect(await scene.on.judge(request())).toBe('SOURCE_NOT_PINNED');
    });

    test('cannot ride on IPv4’s flows with mapped addresses', async () => {
      await granted();
      const mapped = (address: Uint8Array): Uint8Array => Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...address);
      expect(await scene.on.judge(request({ source: mapped(PEER), destination: mapped(OURS) }))).toBe('MALFORMED');
    });

    test('cannot hide ports in fragments', async () => {
      await granted();
      const { ifindex, direction, source, destination } = request();
      expect(await scene.on.judge({ kind: 'unreadable', ifindex, direction, source, destination })).toBe('MALFORMED');
    });

    test('cannot tear down by ICMP errors what is not live, nor what is not the addressee’s', async () => {
      await granted();
      const about = answer(request());
      const { ifindex } = about;
      const error = {
        kind: 'icmp-error' as const,
        ifindex,
        direction: 'in' as const,
        source: ip4(10, 1, 0, 1),
        destination: OURS,
        about,
      };
      expect(await scene.on.judge(error)).toBe('NO_FLOW');
      await scene.on.judge(request());
      expect(await scene.on.judge({ ...error, destination: ip4(10, 2, 0, 9) })).toBe('NO_FLOW');
      expect(await scene.on.judge(error)).toBe('PASS');
    });

    test('that opens too many flows is refused, and takes no other flow’s place', async () => {
      await granted();
      for (let n = 0; n < CONTRACT_SIZES.flowsPerSession; n += 1) {
        expect(await scene.on.judge(request({ sourcePort: 1000 + n }))).toBe('PASS');
      }
      expect(await scene.on.judge(request({ sourcePort: 5000 }))).toBe('STATE_FULL');
      for (let n = 0; n < CONTRACT_SIZES.flowsPerSession; n += 1) {
        expect(await scene.on.judge(answer(request({ sourcePort: 1000 + n })))).toBe('PASS');
      }
    });
  });

  describe('flow state', () => {
    test('frees the places of idle flows', async () => {
      await granted();
      for (let n = 0; n < CONTRACT_SIZES.flowsPerSession; n += 1)
        await scene.on.judge(request({ sourcePort: 1000 + n }));
      await scene.on.flows.extend(3, 7, scene.on.now() + 1000n * MINUTE);
      await scene.on.flows.renewLease(scene.on.now() + 1000n * MINUTE);
      await scene.on.pass(31n * SECOND);
      expect(await scene.on.judge(answer(request({ sourcePort: 1000 })))).toBe('NO_FLOW');
      expect(await scene.on.judge(request({ sourcePort: 5000 }))).toBe('PASS');
    });

    test('keeps an answered connection longer than a question, and a closed one shortly', async () => {
      await granted();
      await scene.on.flows.extend(3, 7, scene.on.now() + 1000n * MINUTE);
      await scene.on.flows.renewLease(scene.on.now() + 1000n * MINUTE);
      await scene.on.judge(request());
      await scene.on.judge(answer(request()));
      await scene.on.pass(40n * SECOND);
      expect(await scene.on.judge(answer(request()))).toBe('PASS');
      await scene.on.judge(request({ flags: FIN_ACK }));
      await scene.on.judge(answer(request(), FIN_ACK));
      await scene.on.pass(20n * SECOND);
      expect(await scene.on.judge(answer(request()))).toBe('NO_FLOW');
    });
  });
}
