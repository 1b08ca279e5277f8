/**
 * What a test needs of its host. Outside CI a test whose need is not met is skipped, with the need and the reason in the
 * report; where CI is set it fails, so that a checker which cannot check is never green.
 *
 *     describeWith(['root', 'bpf'], 'flow enforcement', () => { ... }); // a whole suite
 *     test('drops it', (context) => { needs(context, 'root'); ... });   // one test
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'vitest';
import { isCi } from './ci.ts';

export type Requirement = keyof typeof PROBES;

/** The part of vitest's test context that a skip needs. */
interface Skippable {
  skip(note?: string): never;
}

/** Skips the test, or fails it in CI, unless the host has all of these. */
export function needs(context: Skippable, ...requirements: Requirement[]): void {
  const note = unmet(requirements);
  if (note === undefined) return;
  if (isCi()) throw new Error(note);
  context.skip(note);
}

/** A suite that exists only where the host has all of these; elsewhere one skipped, or in CI failed, test stands for it. */
export function describeWith(requirements: readonly Requirement[], name: string, body: () => void): void {
  const note = unmet(requirements);
  if (note === undefined) {
    describe(name, body);
    return;
  }
  test(name, (context) => needs(context, ...requirements));
}

/** `undefined` when all are met, else what is missing and why. */
export function unmet(requirements: readonly Requirement[]): string | undefined {
  const reasons = requirements.flatMap((requirement) => {
    const reason = probe(requirement);
    return reason === undefined ? [] : [`${requirement} (${reason})`];
  });
  return reasons.length === 0 ? undefined : `needs ${reasons.join(', ')}`;
}

const root = fileURLToPath(new URL('../../', import.meta.url));

const PROBES = {
  root: () => (process.getuid?.() === 0 ? undefined : `running as uid ${process.getuid?.()}`),
  namespaces: () => fails('unshare', ['--net', 'true']),
  bpf: () =>
    existsSync('/sys/kernel/btf/vmlinux')
      ? fails('bpftool', ['-j', 'prog', 'show'])
      : 'the kernel has no BTF in /sys/kernel/btf/vmlinux',
  'bpf objects': () => built('native/bpf/*.o'),
  'addon crypto': () => built('native/crypto/*.node'),
  'addon kernel': () => built('native/kernel/*.node'),
  'addon sandbox': () => built('native/sandbox/*.node'),
  bwrap: () => fails('bwrap', ['--version']),
  tun: () => (existsSync('/dev/net/tun') ? undefined : 'there is no /dev/net/tun'),
  wg: () => fails('wg', ['--version']),
  tcpdump: () => fails('tcpdump', ['--version']),
  systemd: () => fails('systemd-analyze', ['--version']),
  go: () => fails('go', ['version']),
  cargo: () => fails('cargo', ['--version']),
} satisfies Record<string, () => string | undefined>;

const answers = new Map<Requirement, string | undefined>();

function probe(requirement: Requirement): string | undefined {
  if (!answers.has(requirement)) answers.set(requirement, PROBES[requirement]());
  return answers.get(requirement);
}

function fails(command: string, args: string[]): string | undefined {
  const end = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 });
  if (end.error !== undefined) return `${command} does not start: ${end.error.message}`;
  if (end.status === 0) return undefined;
  return `${[command, ...args].join(' ')}: ${end.stderr.trim().split('\n').at(-1) ?? ''} (code ${end.status})`;
}

function built(pattern: string): string | undefined {
  return globSync(pattern, { cwd: root }).length > 0 ? undefined : `there is no ${pattern}: run deploy/setup.sh`;
}
