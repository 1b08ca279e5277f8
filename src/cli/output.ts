/** How verbs print: aligned plain tables for people, one JSON value for programs. */
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatAddress } from '../../protocol/net/address.ts';

/**
 * Columns two spaces apart. Cells may come from peers and agents: what a terminal would act on is shown as its code, so
 * that nobody's error text moves the cursor or forges a row.
 */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows.map((row) => row.map(printable))];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) => `${line(row, widths)}\n`).join('');
}

/** Labels to the left, values to the right. */
export function pairs(rows: readonly (readonly [label: string, value: string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${printable(value)}\n`).join('');
}

export function printable(text: string): string {
  return text.replace(/[\p{C}\u2028\u2029]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** What went wrong, without the reason that stands in front of our messages. */
export function problem(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return error instanceof ShellstreamError ? text.slice(`${error.reason}: `.length) : text;
}

/** Numbers above 2^53 become strings. Control characters are escaped as JSON does. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, plain)}\n`;
}

/** `2 h 5 min`, `45 s`, `12 ms`: the two largest units. */
export function duration(ms: number): string {
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  let rest = Math.floor(ms / 1_000);
  const parts: string[] = [];
  for (const [unit, seconds] of UNITS) {
    const count = Math.floor(rest / seconds);
    rest -= count * seconds;
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(' ');
}

/** ADDRESS:PORT, with brackets around IPv6. */
export function endpoint(address: Uint8Array, port: number): string {
  const text = formatAddress(address);
  return address.length === 16 ? `[${text}]:${port}` : `${text}:${port}`;
}

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

export function protocolName(protocol: number): string {
  return PROTOCOLS.get(protocol) ?? `protocol ${protocol}`;
}

function line(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, column) => cell.padEnd(widths[column] ?? 0))
    .join('  ')
    .trimEnd();
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const;

const PROTOCOLS: ReadonlyMap<number, string> = new Map([
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [58, 'icmpv6'],
]);
