/** What a change of posture does to packets and sessions, on this side and on the other. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { grantOf, type PostureAnswer } from '../lab/answers.ts';
import { GRANTED_TARGET, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { writeNumber } from '../support/bpf-maps.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { connect } from '../support/namespaces.ts';
import { SYN } from '../support/pcap.ts';
import { run, start } from '../support/processes.ts';

labSuite('posture', {}, (lab) => {
  const external = (value: number): Promise<void> => writeNumber(`${lab().b.pins}/posture_level`, 0, value);
  const isCutOff = async (): Promise<boolean> => (await lab().a.run('ping', '-c1', '-W1', '10.77.0.2')).code !== 0;
  // ARP remembers for a moment that nobody answered.
  const isOpen = (): Promise<unknown> => eventually('the way open', async () => !(await isCutOff()));
  // At 2 the mesh attests anew, and its tunnel is without a peer for a moment.
  const managementAnswers = async (): Promise<void> => {
    const answer = await eventually('the management target', () => lab().a.greeting(HOST, PORTS.management));
    expect(answer).toBe(`hello ${PORTS.management}`);
  };

  afterEach(async () => {
    const { a, b } = lab();
    b.gateway.kill('SIGCONT');
    await external(5);
    await a.setPosture(5);
    await b.setPosture(5);
    using console = await a.console();
    const isBack = async (): Promise<boolean> => {
      // Again and again: site-a may hear of a lockdown that is over by now, and hold site-b only then.
      await console.releasePeer('site-b', 'drill');
      return (await a.greeting(HOST, PORTS.granted)) !== undefined;
    };
    await eventually('both sites as they were', isBack, { withinMs: 30_000 });
  });

  test('3 at the peer governs its session alone: the host and its other sessions stay at 5', async () => {
    const { a, b } = lab();
    const apprentice = await a.person({ path: '/people/apprentice', tier: 'apprentice' });
    const propose = ['--capability', 'OBSERVE', '--capability', 'PROPOSE', '--json'];
    await using other = a.startConnect(apprentice, ...TO_SITE_B, ...GRANTED_TARGET, ...propose);
    expect(grantOf(await other.line(/"grant"/)).capabilities).toEqual(['OBSERVE', 'PROPOSE']);
    await a.setPosture(3);
    await eventually('3 in peer_level', async () => (await b.peerLevelsInKernel()).includes(3));
    expect(await b.postureInKernel()).toEqual([5, 5]);
    await eventually('the mesh alone at 3', async () => {
      const sessions = await b.sessions();
      expect(sessions.map(({ type, effectiveLevel, governedBy }) => [type, effectiveLevel, governedBy]).sort()).toEqual(
        [
          ['mesh', 3, 'peer'],
          ['operator', 5, 'both'],
        ],
      );
      return true;
    });
    const fromThree = await a.connect(apprentice, ...TO_SITE_B, '--posture', '3', '--ping', ...propose);
    expect(grantOf(fromThree.stdout.split('\n')[0])).toMatchObject({
      capabilities: ['OBSERVE'],
      effectiveLevel: 3,
    });
  });

  test('each level is told to a data plane in user space, and sets the pace of the tunnel that site-a holds open', async () => {
    const { a, b, directory } = lab();
    const reader = join(directory, 'governance-reader');
    const native = fileURLToPath(new URL('../../native/kernel/', import.meta.url));
    await run('gcc', ['-O2', '-I', `${native}include`, '-o', reader, `${native}reader/reader.c`]);
    await using reading = start(reader, [join(b.options.directory, 'run', 'governance')]);
    const keepalive = async (): Promise<string> =>
      (await a.run('wg', 'show', a.interfaceName, 'persistent-keepalive')).stdout.split('\t').at(-1)?.trim() ?? '';
    await reading.line(/^level 5 epoch \d+ rules 1 actions 1 1 1 1 /);
    await eventually('a peer', async () => (await keepalive()) === '25');
    for (const [level, rules, actions, pace] of [
      [4, 2, '3 3 3 1', '25'],
      [3, 3, '7 3 3 1', '9'],
      [2, 4, '0 0 3 1', '9'],
    ] as const) {
      await b.setPosture(level);
      await reading.line(new RegExp(`^level ${level} epoch \\d+ rules ${rules} actions ${actions} `));
      await eventually(`the pace of ${level}`, async () => (await keepalive()) === pace);
    }
    await b.setPosture(1);
    await reading.line(/^level 1 epoch [1-9]\d* rules 5 actions 0 0 0 1 /);
    expect(await eventually('no peer', async () => (await keepalive()) === '')).toBe(true);
  });

  test('2 at the peer cuts the ordinary target off in this kernel, and only there', async () => {
    const { a, b } = lab();
    await a.setPosture(2);
    await eventually('2 in peer_level', async () => (await b.peerLevelsInKernel()).includes(2));
    expect(await b.postureInKernel()).toEqual([5, 5]);
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
    await managementAnswers();
    const [mesh] = await b.sessions('mesh');
    expect(mesh).toMatchObject({ effectiveLevel: 2, governedBy: 'peer' });
  });

  test('5 to 2 here ends an operator session with its stream; the management target stays', async () => {
    const { a, b, host, directory } = lab();
    await using capture = await Capture.start(host, 'lan', join(directory, 'two.pcap'));
    const operator = await a.person({ path: '/people/operator', tier: 'journeyman' });
    await using session = a.startConnect(operator, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const port = Number(
      JSON.parse(await session.line(/"listening"/))
        .listening.split(':')
        .at(-1),
    );
    await using stream = a.startClient(port);
    await stream.line(/^hello/);
    await b.setPosture(2);
    const end = await session.finished;
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('"error":"POSTURE_END"');
    expect((await stream.finished).stdout).toContain('broken ECONNRESET');
    const before = (await capture.packets()).length;
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
    const later = (await capture.packets()).slice(before);
    // The stream that was cut may still be on its way out of the world.
    expect(later.filter(({ ip }) => ip?.destinationPort === PORTS.granted && ip.flags === SYN)).toEqual([]);
    await managementAnswers();
  });

  test('1 written by another program cuts the host off at once, though the gateway is stopped', async () => {
    const { b } = lab();
    await isOpen();
    b.gateway.kill('SIGSTOP');
    await external(1);
    expect(await isCutOff()).toBe(true);
    await external(5);
    await isOpen();
  });

  test('1 written by another program while the gateway was stopped is followed as soon as it goes on', async () => {
    const { b } = lab();
    b.gateway.kill('SIGSTOP');
    await external(1);
    b.gateway.kill('SIGCONT');
    await eventually('level 1 in our own slot', async () => (await b.postureInKernel())[1] === 1);
    await eventually('no session left', async () => (await b.sessions()).length === 0);
    expect(await b.json('posture', 'get')).toMatchObject({ effective: 1 });
  });

  test('1 written by another program is told to the peer with DRAIN, and taken back by 5', async () => {
    const { a } = lab();
    await using events = a.events();
    await eventually('the events of site-a', async () => {
      await a.greeting(HOST, PORTS.ungranted);
      return events.find('denied') !== undefined;
    });
    await external(1);
    const seen = await eventually('a drain at the peer', () =>
      events.find('drain-received', ({ level }) => level === 1),
    );
    expect(seen).toMatchObject({ reason: 'POSTURE_ISOLATED', level: 1 });
    await external(5);
    await a.shellstream('anchor', 'release', 'site-b', '--reason', 'drill');
    expect(await eventually('the target', () => a.greeting(HOST, PORTS.granted))).toBe(`hello ${PORTS.granted}`);
  });

  test('2 written by another program ends an operator session', async () => {
    const { a } = lab();
    const operator = await a.person({ path: '/people/governed', tier: 'journeyman' });
    await using session = a.startConnect(operator, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    await session.line(/"listening"/);
    await external(2);
    expect((await session.finished).stderr).toContain('POSTURE_END');
    await managementAnswers();
  });

  test.for([0, 6, 0xffff_ffff])('%i in the slot of another program is no level, and counts as 1', async (value) => {
    const { b } = lab();
    await external(value);
    expect(await isCutOff()).toBe(true);
    await eventually(
      'level 1 at the gateway',
      async () => (await b.json<PostureAnswer>('posture', 'get')).effective === 1,
    );
    await external(5);
    await isOpen();
  });

  test('a looser word of another program does not lift what the console said, nor does an interface that comes later', async () => {
    const { b, host } = lab();
    await b.setPosture(1);
    await external(5);
    expect(await b.postureInKernel()).toEqual([5, 1]);
    expect(await isCutOff()).toBe(true);
    await writeNumber(`${b.pins}/posture_level`, 1, 5);
    await eventually('our own slot put back', async () => (await b.postureInKernel())[1] === 1);
    await connect(
      { in: b.namespace, name: 'late', addresses: ['10.78.0.1/24', 'fd78::1/64'] },
      { in: host, name: 'late', addresses: ['10.78.0.2/24', 'fd78::2/64'] },
    );
    await eventually('the filter on it', async () => (await b.shellstream('status')).stdout.includes('late (outer)'));
    const answers = (address: string): Promise<boolean> =>
      host.run('ping', ['-c1', '-W1', address]).then(
        () => true,
        () => false,
      );
    for (const address of ['10.78.0.1', 'fd78::1']) expect(await answers(address)).toBe(false);
    await b.setPosture(5);
    // ARP remembers for a moment that nobody answered.
    await eventually('the way open', () => answers('10.78.0.1'));
  });
});
