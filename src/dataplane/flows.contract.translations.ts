/** The flow contract: prefixes of ours that are others in a tunnel. */
import { beforeEach, describe, expect, test } from 'vitest';
import { type FlowScene, ip4, ip6, OURS, OURS6, PEER, PEER6 } from './flows.contract.scene.ts';

/** What OURS is behind us. */
const INSIDE = ip4(192, 168, 0, 1);
const INSIDE6 = ip6(0xfd09, 1);
const TRANSLATIONS = [
  {
    internal: { address: ip4(192, 168, 0, 0), length: 16 },
    external: { address: ip4(10, 2, 0, 0), length: 16 },
  },
  { internal: { address: ip6(0xfd09, 0), length: 48 }, external: { address: ip6(0xfd02, 0), length: 48 } },
];

export function translationContract(scene: FlowScene): void {
  const { rule, granted, request, answer } = scene;

  describe('where prefixes are translated', () => {
    beforeEach(() => scene.on.flows.attach({ ifindex: scene.tunnel, kind: 'tunnel', translations: TRANSLATIONS }));

    test.each([
      ['IPv4', OURS, INSIDE, PEER, 32],
      ['IPv6', OURS6, INSIDE6, PEER6, 128],
    ])(
      'grants are about external addresses, and answers leave from internal ones (%s)',
      async (_, ours, inside, peer, length) => {
        await granted([rule({ destination: { address: ours, length } })]);
        const arrives = request({ source: peer, destination: ours });
        expect(await scene.on.judge({ ...arrives, destination: inside })).toBe('NO_FLOW');
        expect(await scene.on.judge(arrives)).toBe('PASS');
        expect(await scene.on.judge(answer({ ...arrives, destination: inside }))).toBe('PASS');
      },
    );

    test('what leaves from inside is answered at the external address, and nowhere else', async () => {
      await granted([rule({ direction: 'out', destination: { address: PEER, length: 32 } })]);
      const leaves = request({ direction: 'out', source: INSIDE, destination: PEER });
      expect(await scene.on.judge(leaves)).toBe('PASS');
      expect(await scene.on.judge(answer({ ...leaves, source: OURS }))).toBe('PASS');
      expect(await scene.on.judge(answer(leaves))).toBe('NO_FLOW');
    });

    test('an ICMP error from inside is about what came, as it was in the tunnel', async () => {
      await granted();
      const about = request({ destination: INSIDE });
      const error = { kind: 'icmp-error', ifindex: scene.tunnel, direction: 'out', destination: PEER } as const;
      expect(await scene.on.judge({ ...error, source: ip4(192, 168, 0, 254), about })).toBe('NO_FLOW');
      expect(await scene.on.judge(request())).toBe('PASS');
      expect(await scene.on.judge({ ...error, source: ip4(192, 168, 0, 254), about })).toBe('PASS');
    });

    test('the level of the peer governs them as any others', async () => {
      await granted();
      await scene.on.judge(request());
      await scene.on.flows.setPeerLevel(5, 2);
      expect(await scene.on.judge(answer(request({ destination: INSIDE })))).toBe('POSTURE');
    });

    test('a denial names the address in the tunnel', async () => {
      const denial = scene.on.denialTo(4444);
      await scene.on.judge(request({ direction: 'out', source: INSIDE, destination: PEER, destinationPort: 4444 }));
      expect((await denial).source).toEqual(OURS);
    });

    test('they are the interface’s own, and go when it is attached without', async () => {
      await granted();
      const { otherTunnel } = scene.on.interfaces;
      await scene.on.flows.attach({ ifindex: otherTunnel, kind: 'tunnel', translations: TRANSLATIONS });
      await scene.on.flows.attach({ ifindex: scene.tunnel, kind: 'tunnel' });
      await scene.on.judge(request());
      expect(await scene.on.judge(answer(request({ destination: INSIDE })))).toBe('NO_FLOW');
      expect(await scene.on.judge(answer(request()))).toBe('PASS');
    });

    test.each([
      ['another length', { ...TRANSLATIONS[0], external: { address: ip4(10, 2, 0, 0), length: 24 } }],
      ['another family', { ...TRANSLATIONS[0], external: { address: ip6(0xfd02, 0), length: 16 } }],
      ['host bits', { ...TRANSLATIONS[0], internal: { address: INSIDE, length: 16 } }],
    ])('a prefix is not translated to one of %s', async (_, changes) => {
      const [translation] = TRANSLATIONS.map((one) => ({ ...one, ...changes }));
      const translations = translation === undefined ? [] : [translation];
      const attaching = scene.on.flows.attach({ ifindex: scene.tunnel, kind: 'tunnel', translations });
      await expect(attaching).rejects.toThrow();
    });

    test('there is room for sixteen', async () => {
      const many = (count: number) =>
        Array.from({ length: count }, (_, n) => ({
          internal: { address: ip4(192, 168, n, 0), length: 24 },
          external: { address: ip4(10, 2, n, 0), length: 24 },
        }));
      const attach = (count: number) =>
        scene.on.flows.attach({ ifindex: scene.tunnel, kind: 'tunnel', translations: many(count) });
      await attach(16);
      await expect(attach(17)).rejects.toThrow('16');
    });
  });
}
