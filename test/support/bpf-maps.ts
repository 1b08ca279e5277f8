/** What bpftool says of pinned maps: another's program, not ours, reads them. */
import { rename } from 'node:fs/promises';
import { run } from './processes.ts';

/** All values of a map of 32-bit numbers by 32-bit numbers, as `posture_level` and `peer_level`. */
export async function dumpNumbers(pin: string): Promise<ReadonlyMap<number, number>> {
  return new Map((await dump(pin)).map(({ key, value }) => [number32(key), number32(value)]));
}

/** All values of a map by 32-bit numbers, raw. */
export async function dumpValues(pin: string): Promise<ReadonlyMap<number, Buffer>> {
  return new Map((await dump(pin)).map(({ key, value }) => [number32(key), Buffer.from(value)]));
}

/** Of a hash or a trie. */
export async function countEntries(pin: string): Promise<number> {
  return (await dump(pin)).length;
}

/** As another program on this host would write the map. */
export async function writeNumber(pin: string, key: number, value: number): Promise<void> {
  await run('bpftool', ['map', 'update', 'pinned', pin, 'key', ...hexBytes(key), 'value', ...hexBytes(value)]);
}

/** As a program that makes its own posture map, and puts it where ours is. It is empty: 0 in both slots. */
export async function replacePostureMap(pins: string): Promise<void> {
  const shape = ['type', 'array', 'key', '4', 'value', '4', 'entries', '2', 'name', 'posture_level'];
  await run('bpftool', ['map', 'create', `${pins}/another`, ...shape]);
  await rename(`${pins}/another`, `${pins}/posture_level`);
}

async function dump(
  pin: string,
): Promise<readonly { readonly key: readonly number[]; readonly value: readonly number[] }[]> {
  const { stdout } = await run('bpftool', ['-j', 'map', 'dump', 'pinned', pin]);
  const entries: { key: string[]; value: string[] }[] = JSON.parse(stdout);
  return entries.map(({ key, value }) => ({ key: key.map(Number), value: value.map(Number) }));
}

function number32(bytes: readonly number[]): number {
  return Buffer.from(bytes).readUInt32LE(0);
}

function hexBytes(value: number): string[] {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return ['hex', ...[...bytes].map((byte) => byte.toString(16).padStart(2, '0'))];
}
