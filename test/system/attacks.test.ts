/** Who attacks over the network with real credentials, and how far they come. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { GATEWAY_B, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { watchMints } from '../lab/mints.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { runHostile, startHostile } from '../support/hostile/index.ts';
import { run } from '../support/processes.ts';
import { conversations } from '../support/records.ts';

labSuite('an attacker with valid credentials', {}, (lab) => {
  const visit = (socketPath: string): object => ({
    workloadApi: socketPath,
    url: 'ws://10.77.0.2:7843/',
    gatewayId: GATEWAY_B,
  });

  test("presents another's token with an SVID of their own: refused, and not told why", async () => {
    const { a, b } = lab();
    const victim = await a.person({ path: '/people/victim', tier: 'site_owner' });
    const thief = await a.person({ path: '/people/thief', tier: 'apprentice' });
    expect(await runHostile(a, 'stolen-token', visit(thief.socketPath))).toMatchObject({ outcome: 'granted' });
    const stolenToken = victim.identity.jwt([GATEWAY_B]);
    const theft = await runHostile(a, 'stolen-token', { ...visit(thief.socketPath), stolenToken });
    expect(theft).toEqual({ outcome: 'refused', reason: 'NOT_AUTHENTICATED' });
    await b.gateway.line(/"reason":"SAT_WRONG_SUBJECT".*"msg":"handshake refused"/);
    expect(b.log).not.toContain(stolenToken);
  });

  test('presents a token that was meant for another gateway: refused', async () => {
    const { a, b } = lab();
    const person = await a.person({ path: '/people/relayed', tier: 'apprentice' });
    const stolenToken = person.identity.jwt(['spiffe://site-b.test/other-gateway']);
    const relayed = await runHostile(a, 'stolen-token', { ...visit(person.socketPath), stolenToken });
    expect(relayed).toEqual({ outcome: 'refused', reason: 'NOT_AUTHENTICATED' });
    await b.gateway.line(/"reason":"SAT_WRONG_AUDIENCE"/);
  });

  test('poses as the gateway with another SVID of its trust domain: is sent no token, and none is minted for it', async () => {
    const { a, b, directory } = lab();
    await using capture = await Capture.start(a.namespace, 'wan', join(directory, 'impostor.pcap'));
    const visitor = await a.person({ path: '/people/visitor', tier: 'apprentice' });
    const impostor = await b.person({ path: '/impostor', tier: 'site_owner' });
    await using rogue = startHostile(b, 'rogue-responder', { workloadApi: impostor.socketPath, port: 7844 });
    await rogue.line(/^listening/);
    const minted = watchMints(visitor);
    const visited = await a.connect(visitor, '--gateway', '10.77.0.2:7844', '--gateway-id', GATEWAY_B, '--ping');
    expect(visited.code).toBe(1);
    expect(visited.stderr).toContain('WRONG_IDENTITY');
    expect(await rogue.line(/"confirm"/)).toContain('"confirm":false');
    const [met] = conversations(await capture.packets(), 7844);
    expect(met?.records.map(({ from, type }) => `${from} ${type}`)).toEqual(['initiator 1', 'responder 2']);
    expect(minted).toEqual([]);
  });

  test('asks for a target that nobody granted: denied before there is a session', async () => {
    const { a } = lab();
    const person = await a.person({ path: '/people/greedy', tier: 'site_owner' });
    const asked = await a.connect(person, ...TO_SITE_B, '--target', `tcp://${HOST}:${PORTS.ungranted}`);
    expect(asked).toMatchObject({ code: 1, stdout: '' });
    expect(asked.stderr).toContain('TARGET_NOT_ALLOWED');
  });

  test('took over site-a and tore off its filter: site-b drops what was not granted and sources that are not its own', async () => {
    const { a, b, host, directory } = lab();
    await using capture = await Capture.start(host, 'lan', join(directory, 'taken-over.pcap'));
    await using events = b.events();
    const ifindex = await a.ifindex(a.interfaceName);
    for (const way of ['in', 'out'])
      await run('bpftool', ['link', 'detach', 'pinned', `${a.pins}/links/${ifindex}-${way}`]);
    await a.run('ip', 'address', 'add', '10.1.0.77/32', 'dev', 'lo');
    await eventually('denials of both at site-b', async () => {
      expect(await a.greeting(HOST, PORTS.ungranted)).toBeUndefined();
      await a.run('ping', '-c1', '-W1', '-I', '10.1.0.77', HOST);
      return events.find(
        'denied',
        ({ denial }) => denial?.destinationPort === PORTS.ungranted && denial.direction === 'in',
      );
    });
    const arrived = (await capture.packets()).filter(
      ({ ip }) => ip?.destinationPort === PORTS.ungranted || ip?.source === '10.1.0.77',
    );
    expect(arrived).toEqual([]);
    const granted = await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
    expect(granted).toBe(`hello ${PORTS.granted}`);
  });
});

labSuite('a site that advertises what is not its own', { start: false }, (lab) => {
  test.for([
    ['a prefix of the site it asks', '10.2.0.0/24'],
    ['an address of the tunnel that is the other end', '10.99.0.2/32'],
    ['a wider prefix than the accord has', '10.0.0.0/8'],
  ])('is denied: %s', async ([, prefix]) => {
    const { a, b } = lab();
    await b.start();
    await a.start({ advertise: [prefix] });
    await a.gateway.line(/"msg":"dialling failed".*PREFIX_NOT_ALLOWED|PREFIX_NOT_ALLOWED.*"msg":"dialling failed"/);
    expect((await b.run('ip', 'route', 'show', 'proto', '83')).stdout).toBe('');
    expect(await b.sessions()).toEqual([]);
    await a.stop();
    await b.stop();
  });

  test('cannot even be configured to advertise everything', async () => {
    const { a } = lab();
    await a.configure({ advertise: ['0.0.0.0/0'] });
    await using gateway = a.startGateway();
    const { code, stderr } = await gateway.finished;
    expect(code).toBeGreaterThan(0);
    expect(stderr).toContain('advertise');
  });
});
