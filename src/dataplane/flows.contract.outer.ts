/** The flow contract: isolation of outer interfaces at level 1, and the last word. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { FlowPacket } from './flow-packet.ts';
import { ACK, CONTRACT_SIZES, type FlowScene, ip4, ip6, SECOND, TCP, UDP } from './flows.contract.scene.ts';
import type { StaticFlow } from './ports.ts';

export function outerContract(scene: FlowScene): void {
  describe('an outer interface', () => {
    const MONITOR = ip4(192, 0, 2, 7);
    const SELF = ip4(198, 51, 100, 1);
    const SNMP: StaticFlow = { direction: 'in', remote: { address: MONITOR, length: 32 }, protocol: UDP, port: 161 };
    const TRAP: StaticFlow = {
      direction: 'out',
      remote: { address: ip6(0x2001, 0), length: 16 },
      protocol: UDP,
      port: 162,
    };
    const [MONITOR6, SELF6] = [ip6(0x2001, 7), ip6(0x2002, 1)];
    const CONTROL = {
      protocol: TCP,
      localAddress: SELF,
      localPort: 7843,
      remoteAddress: ip4(203, 0, 113, 5),
      remotePort: 50_000,
    };

    beforeEach(async () => {
      await scene.on.flows.attach({ ifindex: scene.on.interfaces.outer, kind: 'outer', allowAtLockdown: [SNMP, TRAP] });
    });

    function poll(changes: Partial<FlowPacket & { kind: 'udp' }> = {}): FlowPacket & { kind: 'udp' } {
      const ports = { sourcePort: 999, destinationPort: 161 };
      return {
        kind: 'udp',
        ifindex: scene.on.interfaces.outer,
        direction: 'in',
        source: MONITOR,
        destination: SELF,
        ...ports,
        ...changes,
      };
    }

    function neighbour(direction: 'in' | 'out'): FlowPacket {
      return { kind: 'neighbour', ifindex: scene.on.interfaces.outer, direction };
    }

    function back(to: FlowPacket & { kind: 'udp' }): FlowPacket & { kind: 'udp' } {
      const direction = to.direction === 'in' ? 'out' : 'in';
      return {
        ...to,
        direction,
        source: to.destination,
        destination: to.source,
        sourcePort: to.destinationPort,
        destinationPort: to.sourcePort,
      };
    }

    function control(direction: 'in' | 'out'): FlowPacket {
      const sent = { source: SELF, destination: CONTROL.remoteAddress, sourcePort: 7843, destinationPort: 50_000 };
      const received = { source: CONTROL.remoteAddress, destination: SELF, sourcePort: 50_000, destinationPort: 7843 };
      return {
        kind: 'tcp',
        ifindex: scene.on.interfaces.outer,
        direction,
        flags: ACK,
        ...(direction === 'out' ? sent : received),
      };
    }

    test.each([5, 4, 3, 2] as const)('passes everything at %i', async (level) => {
      await scene.on.flows.setPosture(level);
      expect(await scene.on.judge(poll({ source: ip4(1, 2, 3, 4), destinationPort: 22 }))).toBe('PASS');
    });

    test('isolates at level 1, both ways, IPv6 as well', async () => {
      await isolate();
      expect(await scene.on.judge(poll({ destinationPort: 22 }))).toBe('ISOLATED');
      expect(await scene.on.judge(poll({ direction: 'out', source: SELF, destination: MONITOR }))).toBe('ISOLATED');
      expect(await scene.on.judge(poll({ source: MONITOR6, destination: SELF6, destinationPort: 22 }))).toBe(
        'ISOLATED',
      );
      expect(await scene.on.judge({ ...poll(), kind: 'unreadable' })).toBe('ISOLATED');
    });

    test('isolates when the shell’s governance writes nonsense', async () => {
      await scene.on.setExternal(77);
      expect(await scene.on.judge(poll({ destinationPort: 22 }))).toBe('ISOLATED');
    });

    test('passes monitoring and its answers, and nothing before it was asked', async () => {
      await isolate();
      expect(await scene.on.judge(back(poll()))).toBe('ISOLATED');
      expect(await scene.on.judge(poll())).toBe('PASS');
      expect(await scene.on.judge(back(poll()))).toBe('PASS');
      expect(await scene.on.judge(poll({ source: ip4(192, 0, 2, 8) }))).toBe('ISOLATED');
    });

    test('passes what we tell a monitor, and no one who borrows the monitor’s port', async () => {
      await isolate();
      const trap = poll({ direction: 'out', source: SELF6, destination: MONITOR6, destinationPort: 162 });
      const borrowed = back({ ...trap, sourcePort: 22 });
      expect(await scene.on.judge(trap)).toBe('PASS');
      expect(await scene.on.judge(back(trap))).toBe('PASS');
      expect(await scene.on.judge(borrowed)).toBe('ISOLATED');
    });

    test('resolves addresses at level 1 where it is monitored', async () => {
      await isolate();
      await scene.on.judge(neighbour('in'));
      await scene.on.pass(SECOND);
      expect(await scene.on.judge(neighbour('in'))).toBe('PASS');
      expect(await scene.on.judge(neighbour('out'))).toBe('PASS');
    });

    test('answers not even ARP at level 1 where nothing is monitored, once the last word is out', async () => {
      await scene.on.flows.attach({ ifindex: scene.on.interfaces.outer, kind: 'outer' });
      await isolate();
      expect(await scene.on.judge(neighbour('in'))).toBe('PASS');
      await scene.on.pass(SECOND);
      expect(await scene.on.judge(neighbour('in'))).toBe('ISOLATED');
      expect(await scene.on.judge(neighbour('out'))).toBe('ISOLATED');
    });

    test('lets the last word out for 500 ms, and not a moment longer', async () => {
      await scene.on.flows.setControl([CONTROL]);
      await isolate();
      expect(await scene.on.judge(control('out'))).toBe('PASS');
      expect(await scene.on.judge(control('in'))).toBe('PASS');
      await scene.on.pass(400_000_000n);
      expect(await scene.on.judge(control('out'))).toBe('PASS');
      await scene.on.pass(200_000_000n);
      expect(await scene.on.judge(control('out'))).toBe('ISOLATED');
      expect(await scene.on.judge(control('in'))).toBe('ISOLATED');
    });

    test('has one window a lockdown: staying at 1 does not open it again, leaving does', async () => {
      await scene.on.flows.setControl([CONTROL]);
      await isolate();
      await scene.on.judge(control('out'));
      await scene.on.pass(SECOND);
      await scene.on.flows.setPosture(1);
      expect(await scene.on.judge(control('out'))).toBe('ISOLATED');
      await scene.on.flows.setPosture(5);
      await isolate();
      expect(await scene.on.judge(control('out'))).toBe('PASS');
    });

    test('lets exactly the control flows out that were set last', async () => {
      await scene.on.flows.setControl([CONTROL]);
      await scene.on.flows.setControl([]);
      await isolate();
      expect(await scene.on.judge(control('out'))).toBe('ISOLATED');
      await scene.on.flows.setControl([{ ...CONTROL, localPort: 7844 }, CONTROL, CONTROL]);
      expect(await scene.on.judge(control('out'))).toBe('PASS');
      await scene.on.flows.setControl([{ ...CONTROL, localPort: 7844 }]);
      expect(await scene.on.judge(control('out'))).toBe('ISOLATED');
    });

    test('keeps the control flows it has when there is no room for those that are to be set', async () => {
      const many = (count: number) => Array.from({ length: count }, (_, n) => ({ ...CONTROL, remotePort: 1000 + n }));
      await scene.on.flows.setControl([CONTROL]);
      await expect(scene.on.flows.setControl(many(CONTRACT_SIZES.controls + 1))).rejects.toThrow('DATAPLANE_FULL');
      await isolate();
      expect(await scene.on.judge(control('out'))).toBe('PASS');
      await scene.on.flows.setControl(many(CONTRACT_SIZES.controls));
      expect(await scene.on.judge(control('out'))).toBe('ISOLATED');
    });

    async function isolate(level: PostureLevel = 1): Promise<void> {
      await scene.on.flows.setPosture(level);
    }
  });
}
