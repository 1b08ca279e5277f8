/** What others than the gateways say of them: packets, ip, wg, bpftool, the reader of the governance page, the log. */

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Site } from '../lab/site.ts';
import { countEntries } from '../support/bpf-maps.ts';
import { type Running, run } from '../support/processes.ts';
import { PORT, TARGETS, UNDERLAY } from './street.ts';
import { ROUTES, type RouteName, TARGET_NAMES, type TargetName } from './table.ts';

const KERNEL = fileURLToPath(new URL('../../native/kernel/', import.meta.url));
const POLL_US = '1000';

/** Classes whose target answers through the tunnel, `v4` and `v6` apart. */
export async function passing(site: Site): Promise<readonly string[]> {
  const asked = TARGET_NAMES.flatMap((name) => TARGETS[name].map((address) => ({ name, address })));
  const answers = await Promise.all(
    asked.map(async ({ name, address }) => {
      const isAnswered = (await site.greeting(address, PORT)) === `hello ${PORT}`;
      return isAnswered ? [inFamily(name, address)] : [];
    }),
  );
  return answers.flat();
}

/** Classes whose target has a route of ours into the tunnel. */
export async function overlayRoutes(site: Site): Promise<readonly string[]> {
  const listed = await Promise.all(
    ['-4', '-6'].map((family) => site.run('ip', family, 'route', 'show', 'dev', site.interfaceName, 'proto', '83')),
  );
  const lines = listed.flatMap(({ code, stdout }) => (code === 0 ? stdout.split('\n') : []));
  const routed = new Set(lines.map((line) => line.split(' ')[0]));
  return TARGET_NAMES.flatMap((name) =>
    TARGETS[name].filter((address) => routed.has(address)).map((address) => inFamily(name, address)),
  );
}

/** Governed routes of the underlay. */
export async function underlayRoutes(site: Site): Promise<readonly RouteName[]> {
  const { stdout } = await site.run('ip', '-4', 'route', 'show', 'dev', 'lan', 'proto', '83');
  const standing = new Set(stdout.split('\n').map((line) => line.split(' ')[0]));
  return ROUTES.filter((name) => standing.has(UNDERLAY[name]));
}

/** Seconds between keepalives of each peer in the tunnel; none where there is no peer. */
export async function keepalives(site: Site): Promise<readonly string[]> {
  const { stdout } = await site.run('wg', 'show', site.interfaceName, 'persistent-keepalive');
  return [...stdout.matchAll(/\t(\S+)$/gm)].map(([, seconds = '']) => seconds);
}

/** Flows of tunnels in the kernel. */
export function flows(site: Site): Promise<number> {
  return countEntries(join(site.pins, 'flow_policy'));
}

/** Both ways of asking whether anything answers. */
export async function isPinging(site: Site, address: string): Promise<boolean> {
  return (await site.run('ping', '-c1', '-W1', address)).code === 0;
}

/** The C stand-in of a data plane, on the page of a gateway; it prints each state that it sees. */
export async function startReader(site: Site, directory: string): Promise<Running> {
  const program = join(directory, 'reader');
  const source = join(KERNEL, 'reader/reader.c');
  await run('gcc', ['-O2', '-I', join(KERNEL, 'include'), '-o', program, source]);
  return site.inside(program, [join(site.options.directory, 'run', 'governance'), POLL_US]);
}

/** Sessions whose beginning at this level is in the log. */
export async function notarisedAt(site: Site, level: PostureLevel): Promise<ReadonlySet<string>> {
  using console = await site.console();
  const sessions = new Set<string>();
  for (let after: number | undefined; ; ) {
    const { records, next } = await console.evidence.list({ kind: 'sessionTransit', level, after });
    for (const { record } of records) {
      const { body } = parseArtifact(record);
      if (body.case !== 'sessionTransit' || body.value.phase !== Phase.INTENT) continue;
      sessions.add(Buffer.from(body.value.sessionId).toString('hex'));
    }
    if (next === undefined) return sessions;
    after = next;
  }
}

/** As `passing` and `overlayRoutes` name what is there in both families. */
export function inBoth(names: readonly TargetName[]): readonly string[] {
  return names.flatMap((name) => TARGETS[name].map((address) => inFamily(name, address)));
}

function inFamily(name: TargetName, address: string): string {
  return `${name} ${address.includes(':') ? 'v6' : 'v4'}`;
}
