import { describe, expect, it } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Clock, systemClock } from './clock.ts';
import { createLogger, type LogFields, type LogLevel } from './logger.ts';

const TOKEN = `eyJhbGciOiJFUzI1NiJ9.${'a'.repeat(40)}.${'b'.repeat(40)}`;

describe('a log line', () => {
  it('is one JSON object with time, level, message and fields', () => {
    const { log, lines } = capture();
    log.child({ session: 'abc' }).info('session opened', { level: 4, epoch: 7n });
    expect(lines()).toEqual([
      {
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        severity: 'info',
        level: 4,
        session: 'abc',
        epoch: '7',
        msg: 'session opened',
      },
    ]);
  });

  it('below the level is not written', () => {
    const { log, lines } = capture('warn');
    log.info('no');
    log.warn('yes');
    expect(lines()).toHaveLength(1);
  });

  it('cannot be forged by a peer with line breaks', () => {
    const { log, text } = capture();
    log.warn('refused\n{"severity":"info","msg":"forged"}', { detail: 'x\n{"forged":true}' });
    expect(text().trimEnd().split('\n')).toHaveLength(1);
  });

  it('keeps its severity, time and message whatever a field is called', () => {
    const { log, lines } = capture();
    log.warn('real', { severity: 'debug', msg: 'forged', time: 0 });
    expect(lines()[0]).toMatchObject({ severity: 'warn', msg: 'real', severity_: 'debug', msg_: 'forged', time_: 0 });
  });

  it('has a field of any name, `__proto__` too', () => {
    const { log, text } = capture();
    log.info('x', JSON.parse('{"__proto__":{"polluted":1},"constructor":2}'));
    expect(text()).toContain('"__proto__":{"polluted":1},"constructor":2');
  });

  it('says what an error is, with its reason and cause', () => {
    const { log, lines } = capture();
    const error = new ShellstreamError('NO_BUNDLE', 'none for example.org', { cause: new Error('gone') });
    log.error('handshake refused', { error });
    expect(lines()[0]).toMatchObject({
      error: { reason: 'NO_BUNDLE', message: 'NO_BUNDLE: none for example.org', cause: { message: 'gone' } },
    });
  });
});

describe('nothing secret is in a log line:', () => {
  it.each<readonly [string, LogFields]>([
    ['a token by its name', { token: 'hunter2' }],
    ['a SAT', { sat: 'hunter2' }],
    ['a secret in a nested field', { session: { presharedKey: 'hunter2' } }],
    ['a secret in a list', { peers: [{ privateKey: 'hunter2' }] }],
    [
      'a secret in an error’s fields',
      { error: new ShellstreamError('INTERNAL', 'x', { fields: { secret: 'hunter2' } }) },
    ],
    ['a token inside a text', { detail: `got ${TOKEN}, hunter2`.replace('hunter2', '') }],
    ['a token inside an error', { error: new Error(`bad ${TOKEN}`) }],
    ['a token inside a cause', { error: new Error('bad', { cause: new Error(TOKEN) }) }],
    ['bytes', { nonce: Buffer.from('hunter2') }],
    ['bytes in a map', { keys: new Map([['a', new TextEncoder().encode('hunter2')]]) }],
  ])('%s', (_name, fields) => {
    const { log, text } = capture();
    log.child(fields).info('x', fields);
    for (const trace of ['hunter2', 'aaaaaaaa', '104,117,110', Buffer.from('hunter2').toString('base64')]) {
      expect(text()).not.toContain(trace);
    }
  });

  it('but the id of a token is there, since revocations name it', () => {
    const { log, text } = capture();
    log.info('revoked', { tokenId: 'f00d', hasToken: true });
    expect(text()).toContain('"tokenId":"f00d","hasToken":true');
  });

  it('a token inside the message', () => {
    const { log, text } = capture();
    log.info(`refused ${TOKEN}`);
    expect(text()).not.toContain('aaaaaaaa');
  });
});

describe('a log line stays small when a peer', () => {
  it('sends a huge text', () => {
    const { log, text } = capture();
    log.info('x', { detail: 'y'.repeat(1_000_000) });
    expect(text().length).toBeLessThan(3_000);
  });

  it('nests a thousand deep, or without end', () => {
    const { log, text } = capture();
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    log.info('x', loop);
    expect(text().length).toBeLessThan(300);
  });

  it('has a thousand fields and items', () => {
    const { log, text } = capture();
    const many = Array.from({ length: 1_000 }, (_, i) => [`field${i}`, i] as const);
    log.info('x', { ...Object.fromEntries(many), list: many });
    expect(text().length).toBeLessThan(2_000);
  });
});

/** Nothing waits. */
const HURRIED: Clock = {
  ...systemClock,
  after: (_, action) => {
    action();
    return { cancel: () => undefined };
  },
};

function capture(level: LogLevel = 'debug') {
  const written: string[] = [];
  const destination = { write: (line: string) => void written.push(line) };
  const log = createLogger({ level, destination, clock: HURRIED });
  const text = (): string => written.join('');
  return { log, text, lines: () => written.map((line) => JSON.parse(line) as unknown) };
}
