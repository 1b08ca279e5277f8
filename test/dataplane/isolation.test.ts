/** Interfaces that come at lockdown, in the kernel: the clock stands still, so that nothing is found by looking from time to time. */
import { expect, test } from 'vitest';
import { silentLogger } from '../../src/base/logger.ts';
import { SimulatedClock } from '../../src/base/simulated-clock.ts';
import { createLinuxFlows } from '../../src/dataplane/linux/flows.ts';
import { createLinuxNetwork } from '../../src/dataplane/linux/network.ts';
import { Isolation, keepCovered } from '../../src/roots/isolation.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace } from '../support/namespaces.ts';
import { describeWith } from '../support/requirements.ts';
import { removeInstance, uniqueInstance } from './flow-world.ts';

describeWith(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel'], 'isolation in the kernel', () => {
  test('attack: an interface that comes at lockdown is shut when the kernel tells of it, renamed ones and later ones too', async () => {
    await using owned = new AsyncDisposableStack();
    const shut = owned.use(await createNamespace('shut'));
    const outside = owned.use(await createNamespace('outside'));
    const instance = uniqueInstance();
    owned.defer(() => removeInstance(instance));
    const flows = owned.use(await createLinuxFlows({ instance, namespace: shut.path }));
    owned.defer(() => flows.reset());
    const network = createLinuxNetwork({ namespace: shut.path });
    const isolation = new Isolation(
      { flows, network },
      { initial: 5, leaseSeconds: 10, isolate: 'all-but-loopback', allowAtLockdown: [] },
    );
    const clock = new SimulatedClock();
    owned.use(keepCovered(isolation, { clock, log: silentLogger, network, posture: { level: 1 } }));
    await flows.setPosture(1);

    const covered = (...names: readonly string[]): Promise<true> =>
      eventually(`the filter on ${names.join(', ') || 'none'}`, () => {
        const found = isolation.links.map(({ name }) => name).sort();
        if (JSON.stringify(found) !== JSON.stringify(names)) throw new Error(found.join(', '));
        return true;
      });
    const addresses = ['10.78.0.1', 'fd78::1', '10.79.0.1'];
    const reached = async (): Promise<readonly boolean[]> => {
      // A host remembers for a while that nobody answered.
      await outside.run('ip', ['neighbour', 'flush', 'all']);
      const pings = addresses.map((address) => outside.attempt('ping', ['-c1', '-W1', address]));
      return (await Promise.all(pings)).map(({ code }) => code === 0);
    };

    await connect(
      { in: shut, name: 'late', addresses: ['10.78.0.1/24', 'fd78::1/64'] },
      { in: outside, name: 'late', addresses: ['10.78.0.2/24', 'fd78::2/64'] },
    );
    await covered('late');
    await shut.run('ip', ['link', 'set', 'late', 'name', 'renamed']);
    await covered('renamed');
    await connect(
      { in: shut, name: 'later', addresses: ['10.79.0.1/24'] },
      { in: outside, name: 'later', addresses: ['10.79.0.2/24'] },
    );
    await covered('later', 'renamed');
    expect(await reached()).toEqual([false, false, false]);
    // It was the filter: at 5 they answer.
    await flows.setPosture(5);
    await eventually('all answer', async () => !(await reached()).includes(false));

    await shut.run('ip', ['link', 'delete', 'later']);
    await covered('renamed');
    await eventually('nothing kept of one that is gone', () => flows.plane.attached().length === 1);
  });
});
