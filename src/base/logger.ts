/**
 * The daemon's log: one JSON object a line, on standard error. What a peer or a caller hands in is untrusted and perhaps
 * secret, so fields pass `redact` first: secrets by their name, tokens by their shape, bytes always, all of it bounded.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Clock, systemClock } from './clock.ts';
import { LineBuffer } from './line-buffer.ts';
import { descriptorSink, fileSink, type LogSink } from './log-sink.ts';

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger whose lines all carry these fields too. */
  child(fields: LogFields): Logger;
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LoggerOptions {
  readonly level?: LogLevel;
  /** Takes whole lines; standard error unless told. */
  readonly destination?: LogSink;
  readonly clock?: Clock;
}

export function createLogger(options: LoggerOptions = {}): Logger {
  const clock = options.clock ?? systemClock;
  const target = options.destination ?? descriptorSink(STANDARD_ERROR, clock);
  const buffer = new LineBuffer(clock, (lines) => target.write(lines));
  // The lines before an end are the ones that matter; an uncaught error ends here as well.
  process.once('exit', () => buffer.flush());
  return loggerInto({ buffer, clock, least: LOG_LEVELS.indexOf(options.level ?? 'info') }, '');
}

const STANDARD_ERROR = 2;

/** A file to append to; its folder is made. Written to synchronously, as standard error is. */
export function logFile(path: string): LogSink {
  return fileSink(path, systemClock);
}

/** For tests, and where nobody listens. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
};

interface Output {
  readonly buffer: LineBuffer;
  readonly clock: Clock;
  /** Index of the lowest level that is written. */
  readonly least: number;
}

/**
 * Warnings and errors leave at once, and what was said before them; the rest within 20 ms.
 * @param context members of the JSON object that every line has
 */
function loggerInto(output: Output, context: string): Logger {
  const { buffer, clock, least } = output;
  const write = (level: LogLevel): Logger[LogLevel] => {
    if (LOG_LEVELS.indexOf(level) < least) return () => undefined;
    // Not `level`: that is the posture's word here.
    const start = `{"severity":"${level}","time":"`;
    return (message, fields) => {
      const members = fields === undefined ? '' : membersOf(redact(fields));
      const text = JSON.stringify(clean(message));
      buffer.write(`${start}${new Date(clock.now()).toISOString()}"${context}${members},"msg":${text}}\n`);
      if (level === 'warn' || level === 'error') buffer.flush();
    };
  };
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (fields) => loggerInto(output, context + membersOf(redact(fields))),
  };
}

/** Each with a comma before it. */
function membersOf(fields: Record<string, unknown>): string {
  const text = JSON.stringify(fields);
  return text === '{}' ? '' : `,${text.slice(1, -1)}`;
}

/** A token's id is the hash by which revocations name it: no secret, and wanted in the log. */
const SECRET_NAME =
  /secret|token(?!_?id$)|password|passphrase|authorization|cookie|private|preshared|psk|^sat$|^jwt$|^key$/i;
/** A compact JWS or JWE anywhere in a text, a word run up against it included: whoever reads the log could present it. */
const TOKEN_START = 'eyJ';
const TOKEN = /eyJ[\w-]{8,}\.[\w-]+\.[\w.-]*/g;
/** A peer that puts a megabyte into a field must not put it into every log line. */
const MAX_TEXT = 2_048;
const MAX_ITEMS = 64;
const MAX_DEPTH = 5;

/** A copy that may be written: no secrets, no bytes, no unbounded text, list or nesting. */
export function redact(fields: LogFields): Record<string, unknown> {
  const redacted = redactRecord(fields, 1);
  // A field must not speak for the line: readers take the last of two equal names.
  for (const name of RESERVED) {
    if (name in redacted) {
      redacted[`${name}_`] = redacted[name];
      delete redacted[name];
    }
  }
  return redacted;
}

const RESERVED = ['severity', 'time', 'msg'];

function redactRecord(fields: LogFields, depth: number): Record<string, unknown> {
  // Without a prototype: a field that is called `__proto__` must not become one.
  const redacted: Record<string, unknown> = Object.create(null);
  let left = MAX_ITEMS;
  for (const name of Object.keys(fields)) {
    if (left === 0) break;
    left -= 1;
    const value = fields[name];
    // Names too: those of maps and of claims come from a peer.
    redacted[clean(name)] = isSecret(name, value) ? '[redacted]' : redactValue(value, depth);
  }
  return redacted;
}

/** Flags and counts about a secret are none. */
function isSecret(name: string, value: unknown): boolean {
  return typeof value !== 'boolean' && typeof value !== 'number' && value !== undefined && SECRET_NAME.test(name);
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return clean(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return `[${typeof value}]`;
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
  if (depth > MAX_DEPTH) return '[deeper]';
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? '[no date]' : value.toISOString();
  if (value instanceof Set) return redactValue([...value], depth);
  if (value instanceof Map) return redactValue(Object.fromEntries(value), depth);
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => redactValue(item, depth + 1));
  return redactRecord(value as LogFields, depth + 1);
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const cause = error.cause === undefined ? {} : { cause: redactValue(error.cause, depth + 1) };
  if (error instanceof ShellstreamError) {
    return { reason: error.reason, message: clean(error.message), ...redactRecord(error.fields, depth + 1), ...cause };
  }
  return { name: error.name, message: clean(error.message), stack: clean(error.stack ?? ''), ...cause };
}

function clean(text: string): string {
  const bounded = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}… (${text.length} characters)` : text;
  return bounded.includes(TOKEN_START) ? bounded.replace(TOKEN, '[token]') : bounded;
}
