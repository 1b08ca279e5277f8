import { describe, expect, it } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import { FakeWorld } from './fixtures.ts';
import { duration, printable, table } from './output.ts';

const GATEWAY = ['--gateway', '192.0.2.1:7843', '--gateway-id', 'spiffe://beta.test/gateway'];
const CONNECT = ['connect', '--workload-api', '/run/agent.sock', ...GATEWAY];

describe('usage', () => {
  it.each([
    [[], 'Commands:'],
    [['nonsense'], "unknown command 'nonsense'"],
    [['status', '--nonsense'], "unknown option '--nonsense'"],
    [['status', 'extra'], 'too many arguments'],
    [['status', '--instance', '../../etc'], '1 to 10 of a-z'],
    [['sessions'], 'Commands:'],
    [['sessions', 'show'], "missing required argument 'id'"],
    [['sessions', 'list', '--type', 'root'], 'One of management'],
    [['sessions', 'drain', 's-1', '--deadline', 'soon'], 'a number and a unit'],
    [['posture', 'set', '--reason', 'x'], "missing required argument 'level'"],
    [['posture', 'set', '0', '--reason', 'x'], '1 (lockdown) to 5'],
    [['posture', 'set', '5.0', '--reason', 'x'], '1 (lockdown) to 5'],
    [['posture', 'set', '3'], "required option '--reason <words>'"],
    [['posture', 'set-aside', 'map'], "required option '--reason <words>'"],
    [['posture', 'confirm'], "required option '--epoch <number>'"],
    [['posture', 'set-aside', '--reason', 'x'], "missing required argument 'source'"],
    [['posture', 'set', '3', '--reason', 'x', '--for', '30'], 'a number and a unit'],
    [['routes', 'apply', '10.5.0.1/24', '--dev', 'lan', '--reason', 'x'], 'without host bits'],
    [['routes', 'apply', '10.5.0.0/24', '--reason', 'x'], "required option '--dev <interface>'"],
    [['routes', 'apply', '10.5.0.0/24', '--dev', 'lan', '--via', 'gw', '--reason', 'x'], 'An IP address'],
    [['routes', 'apply', '10.5.0.0/24', '--dev', 'lan', '--via', 'fd00::1', '--reason', 'x'], 'the same family'],
    [['routes', 'token', '--for', 'alice', '--tier', 'master'], 'looks like spiffe://'],
    [['routes', 'reject', 'x'], "required option '--reason <words>'"],
    [['connect', ...GATEWAY, '--ping'], 'must say who we are'],
    [CONNECT, "'--target' is needed"],
    [[...CONNECT, '--config', '/x', '--ping'], 'cannot be used with'],
    [[...CONNECT, '--target', 'tcp://db.internal:5432'], 'A target is an address'],
    [[...CONNECT, '--target', '10.0.0.1:22'], 'A target is an address'],
    [[...CONNECT, '--target', 'tcp://10.0.0.1:0'], 'A target is an address'],
    [[...CONNECT, '--target', 'tcp://10.0.0.1:99999'], 'HOST:PORT'],
    [[...CONNECT, '--target', 'tcp://10.0.0.1:22', '--listen', '0.0.0.0:2222'], 'Only a loopback address'],
    [[...CONNECT, '--target', 'tcp://10.0.0.1:22', '--listen', '[::]:2222'], 'Only a loopback address'],
    [[...CONNECT, '--ping', '--capability', 'ROOT'], 'One of OBSERVE'],
    [[...CONNECT, '--ping', '--type', 'vpn'], 'One of management'],
    [['connect', '--workload-api', 'agent.sock', ...GATEWAY, '--ping'], 'absolute path'],
    [['connect', '--workload-api', '/x', '--gateway', 'host', '--gateway-id', 'spiffe://a.test/g'], 'HOST:PORT'],
    [['connect', '--workload-api', '/x', '--gateway', 'host:0', '--gateway-id', 'spiffe://a.test/g'], 'Port 0'],
    [['connect', '--workload-api', '/x', '--gateway', 'host:1', '--gateway-id', 'beta'], 'looks like spiffe://'],
    [['connect', '--workload-api', '/x', '--gateway', 'host:1', '--ping'], "required option '--gateway-id"],
  ])('%j is exit code 2, and asks nobody', async (argv, said) => {
    const world = new FakeWorld();
    expect(await world.run(...argv)).toMatchObject({ code: 2, out: '', err: expect.stringContaining(said) });
    expect(world.asked).toEqual([]);
  });

  it.each([
    '',
    'gateway',
    'connect',
    'status',
    'sessions',
    'sessions list',
    'sessions show',
    'sessions drain',
    'sessions end',
    'posture',
    'posture get',
    'posture set',
    'posture confirm',
    'posture set-aside',
    'posture restore',
    'routes',
    'routes list',
    'routes apply',
    'routes remove',
    'routes propose',
    'routes token',
    'routes approve',
    'routes reject',
    'terminator',
    'events',
    'init',
    'doctor',
    'verify-log',
  ])('%s --help is exit code 0', async (verb) => {
    const ran = await new FakeWorld().run(...verb.split(' ').filter((part) => part !== ''), '--help');
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toMatch(new RegExp(`^Usage: shellstream ${verb}`));
  });

  it('--version is exit code 0', async () => {
    expect(await new FakeWorld().run('--version')).toEqual({ code: 0, out: '0.1.0\n', err: '' });
  });
});

describe('gateway', () => {
  it('runs with the file it is given, or the one of the host', async () => {
    const world = new FakeWorld();
    expect(await world.run('gateway', '--config', '/a.yaml')).toMatchObject({ code: 0 });
    expect(await world.run('gateway')).toMatchObject({ code: 0 });
    expect(world.asked).toEqual(['/a.yaml', '/etc/shellstream/main.yaml']);
  });

  it('that cannot start is exit code 1, with why', async () => {
    const world = new FakeWorld();
    world.gateway = () => Promise.reject(new ShellstreamError('MALFORMED', '/a.yaml:3:7: not a level\u001b[2J'));
    const err = 'shellstream: MALFORMED: /a.yaml:3:7: not a level\\u{1b}[2J\n';
    expect(await world.run('gateway', '--config', '/a.yaml')).toEqual({ code: 1, out: '', err });
  });
});

describe('what is printed', () => {
  it('a cell from a peer cannot move the cursor or forge a row', () => {
    expect(table(['A', 'B'], [['x\u001b[1A\nroot', 'y']]).split('\n')).toEqual([
      `A${' '.repeat(20)}B`,
      'x\\u{1b}[1A\\u{a}root  y',
      '',
    ]);
    expect(printable('right\u202eto left')).toBe('right\\u{202e}to left');
    expect(printable('plain — ünïcode')).toBe('plain — ünïcode');
  });

  it.each([
    [0, '0 ms'],
    [999, '999 ms'],
    [1_000, '1 s'],
    [61_000, '1 min 1 s'],
    [3_600_000, '1 h'],
    [3_601_000, '1 h'],
    [90_061_000, '1 d 1 h'],
    [-5_000, '-5 s'],
  ])('%d ms reads %s', (ms, text) => {
    expect(duration(ms)).toBe(text);
  });
});
