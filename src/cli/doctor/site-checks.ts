/** What the site must give: configuration, accord, identity, time, free ports. */
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reasonOf } from '../../../protocol/errors.ts';
import type { Config } from '../../base/config.ts';
import type { Finding } from '../../control/ports.ts';
import { DEFAULT_INSTANCE } from '../console.ts';
import { duration, problem } from '../output.ts';
import type { Host } from './host.ts';
import { missing, ok, warning } from './kernel-checks.ts';
import { offers } from './offer-checks.ts';

export interface Site {
  readonly configPath: string;
  /** Undefined: it does not load, and what depends on it is looked at by its defaults. */
  readonly config: Config | undefined;
  readonly findings: readonly Finding[];
}

export async function readSite(host: Host, configPath: string): Promise<Site> {
  try {
    const config = await host.loadConfig(configPath);
    const detail = `${configPath}: instance ${config.instance} of ${config.site.trustDomain}`;
    const findings = [ok('configuration', detail), ...(await accord(host, config))];
    return { configPath, config, findings };
  } catch (error) {
    const isUnreadable = reasonOf(error) === 'INTERNAL';
    const mend = isUnreadable
      ? `shellstream init --out ${dirname(configPath)} --instance ${instanceOf(configPath)}`
      : `mend ${configPath}; ${EXAMPLE} explains every key`;
    return { configPath, config: undefined, findings: [missing('configuration', problem(error), mend)] };
  }
}

/** The name that a file of it would have; the default where that is none. */
function instanceOf(configPath: string): string {
  const name = basename(configPath, '.yaml');
  return /^[a-z0-9]{1,10}$/.test(name) ? name : DEFAULT_INSTANCE;
}

async function accord(host: Host, config: Config): Promise<readonly Finding[]> {
  try {
    const { accord, hash } = await host.loadAccord(config.accord.file);
    const short = Buffer.from(hash).toString('hex').slice(0, 16);
    const found = ok('accord', `${config.accord.file}: ${accord.id} serial ${accord.serial}, ${short}`);
    return [found, ...offers(config, accord)];
  } catch (error) {
    const mend =
      reasonOf(error) === 'INTERNAL'
        ? `shellstream init --trust-domain ${config.site.trustDomain} --out DIRECTORY writes a first one; or set accord.file`
        : `mend ${config.accord.file}`;
    return [missing('accord', problem(error), mend)];
  }
}

/** The Workload API and, by the SVID it gives, the clock. */
export async function identity(host: Host, socket: string, nowMs: number): Promise<readonly Finding[]> {
  try {
    const { spiffeIds, expiresAtMs, trustDomains } = await host.workloadIdentity(socket);
    const [first] = spiffeIds;
    if (first === undefined || expiresAtMs === undefined) {
      return [missing('workload api', `${socket} gives no SVID`, REGISTER), unprovenClock(nowMs)];
    }
    const bundles = `bundles of ${trustDomains.join(', ')}`;
    const found = ok('workload api', `${spiffeIds.join(', ')} for ${duration(expiresAtMs - nowMs)}; ${bundles}`);
    if (expiresAtMs > nowMs) return [found, ok('clock', "inside the SVID's validity")];
    const behind = `the SVID just given ended ${duration(nowMs - expiresAtMs)} ago by this clock`;
    return [found, missing('clock', behind, SYNCHRONISE)];
  } catch (error) {
    const detail = `${socket}: ${problem(error)}`;
    const mend = /permission|denied/i.test(detail) ? REGISTER : START_AGENT;
    return [missing('workload api', detail, mend), unprovenClock(nowMs)];
  }
}

function unprovenClock(nowMs: number): Finding {
  if (nowMs >= RELEASED_MS) return ok('clock', 'after the release of this version; no SVID to measure it by');
  return missing('clock', `${new Date(nowMs).toISOString()} is before this version was made`, SYNCHRONISE);
}

export async function ports(host: Host, config: Config): Promise<readonly Finding[]> {
  const wanted = [
    { name: 'session port', kind: 'tcp', address: config.listen.address, port: config.listen.port },
    { name: 'tunnel port', kind: 'udp', address: '::', port: config.wireguard.port },
  ] as const;
  return await Promise.all(
    wanted.map(async ({ name, kind, address, port }) => {
      const place = `${kind} ${port} on ${address}`;
      const why = await host.whyNotBound(kind, address, port);
      if (why === undefined) return ok(name, `${place} is free`);
      const find = `ss -lnp --${kind} 'sport = :${port}' names who holds it`;
      return name === 'session port'
        ? missing(name, `${place}: ${why}`, find)
        : warning(name, `${place}: ${why}`, find);
    }),
  );
}

/** Whether the kernel passes packets on, where something lies behind this host or it stands between two peers. */
export async function forwarding(host: Host, { advertise, mesh }: Config): Promise<readonly Finding[]> {
  const behind = [...advertise, ...mesh.peers.flatMap((peer) => peer.advertise ?? [])];
  const between = mesh.forward.length === 0 ? [] : mesh.peers.flatMap(({ request }) => request.targets);
  const lengths = new Set([...behind, ...between.map(({ prefix }) => prefix)].map(({ address }) => address.length));
  const wanted = [
    { family: 'IPv4', bytes: 4, setting: 'net.ipv4.ip_forward' },
    { family: 'IPv6', bytes: 16, setting: 'net.ipv6.conf.all.forwarding' },
  ].filter(({ bytes }) => lengths.has(bytes));
  return await Promise.all(
    wanted.map(async ({ family, setting }) => {
      const set = await host.readText(`/proc/sys/${setting.replaceAll('.', '/')}`);
      if (set?.trim() === '1') return ok('forwarding', `the kernel passes ${family} on`);
      return warning('forwarding', `the kernel passes no ${family} on`, `sysctl -w ${setting}=1`);
    }),
  );
}

const SYNCHRONISE = 'timedatectl set-ntp true';
const START_AGENT = 'start the SPIRE agent (systemctl start spire-agent), or set workloadApi.socket';
/** The user that the unit runs as; in a container or by hand it is another. */
const REGISTER =
  'spire-server entry create -parentID AGENT_ID -spiffeID spiffe://DOMAIN/gateway -selector unix:user:shellstream ' +
  '(or unix:uid:0 where the gateway runs as root)';
const EXAMPLE = fileURLToPath(new URL('../../../deploy/shellstream.example.yaml', import.meta.url));
const RELEASED_MS = Date.UTC(2026, 10, 1);
