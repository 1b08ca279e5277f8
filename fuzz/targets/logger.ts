/**
 * What the log lets through. The input is JSON, handed in as fields; under every name that says secret, and inside every
 * text that has room for it, a mark is hidden that must not come out again.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import { createLogger, redact } from '../../src/base/logger.ts';
import { json } from '../formats/json.ts';
import { holds, type OpenTarget } from '../target.ts';
import { ascii } from './examples.ts';

const MARK = 'kYe7Qm2pXw9sTn4v';
const TOKEN = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.${MARK.repeat(4)}`;
const HEX = Buffer.from(MARK).toString('hex');
/** Its own list, not the logger's. */
const SECRETS = new Set([
  'secret',
  'token',
  'sat',
  'jwt',
  'password',
  'passphrase',
  'authorization',
  'cookie',
  'privateKey',
  'presharedKey',
  'psk',
  'key',
  'accessToken',
  'client_secret',
]);
/** Sixty-four fields or items, five deep, cannot be bounded by their product: one line holds what its input held, and a little. */
const ROOM = 8_192;

const lines: string[] = [];
const log = createLogger({ level: 'debug', destination: { write: (line: string) => void lines.push(line) } });

export const open: OpenTarget = async () => ({
  about: 'the log: no secret by its name, no token by its shape, no bytes; one line of bounded length',
  covers: ['src/base/logger.ts'],
  maxBytes: 6_000,
  format: json,
  dictionary: [
    ...SECRETS,
    'TOKEN',
    ' TOKEN ',
    'xTOKEN',
    'BYTES',
    'ERROR',
    'MAP',
    'severity',
    'msg',
    'time',
    'level',
    '__proto__',
    'toJSON',
    'constructor',
    '\u2028',
    '\n',
  ],
  seeds: [
    { session: 'a', level: 4, detail: 'Bearer TOKEN' },
    { error: { ERROR: 'TOKEN', fields: { secret: 'x', nested: { psk: 'y' } } } },
    { peers: [{ privateKey: 'x', list: ['BYTES', { key: ['z'] }] }], sat: 'TOKEN', hasToken: true },
    { MAP: { token: 'x', a: { b: { c: { d: { e: { f: 'TOKEN' } } } } } }, severity: 'fatal', msg: 'forged' },
    { detail: `${'x'.repeat(2_030)} TOKEN` },
  ].map((fields) => ascii(JSON.stringify(fields))),
  run(input) {
    let fields: unknown;
    try {
      fields = JSON.parse(Buffer.from(input).toString('utf8'));
    } catch {
      return 'no JSON';
    }
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) return 'no fields';
    const given = planted(fields, false) as Readonly<Record<string, unknown>>;
    const before = JSON.stringify(fields);
    lines.length = 0;
    log.child(given).warn('it happened', given);
    const text = lines.join('');
    holds(!text.includes(MARK) && !text.includes(HEX), 'a secret in the log');
    holds(text.endsWith('\n') && text.indexOf('\n') === text.length - 1, 'not one line');
    holds(text.length <= ROOM + 12 * before.length, 'a line longer than what it says');
    const line: Record<string, unknown> = JSON.parse(text);
    holds(line.severity === 'warn' && line.msg === 'it happened', 'a field speaks for the line');
    return `taken ${Object.keys(redact(given)).length} ${text.includes('[redacted]')} ${text.includes('[token]')} ${text.includes('[deeper]')}`;
  },
});

/** The value with marks in the places that must not be seen, and with what JSON cannot say. */
function planted(value: unknown, isSecret: boolean): unknown {
  if (typeof value === 'string') {
    if (isSecret) return MARK;
    if (value === 'BYTES') return Buffer.from(MARK);
    return value.replaceAll('TOKEN', TOKEN);
  }
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => planted(item, isSecret));
  const entries = Object.entries(value).map(
    ([name, inner]) => [name.replaceAll('TOKEN', TOKEN), planted(inner, isSecret || SECRETS.has(name))] as const,
  );
  const made = Object.fromEntries(entries);
  if (Object.hasOwn(value, 'ERROR'))
    return new ShellstreamError('INTERNAL', typeof made.ERROR === 'string' ? made.ERROR : 'broke', {
      fields: made,
      cause: new Error(TOKEN),
    });
  return Object.hasOwn(value, 'MAP') ? new Map(entries) : made;
}
