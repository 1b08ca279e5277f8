/** What the kernel and the build must give: each check says what it found and, where something lacks, what mends it. */
import type { Finding } from '../../control/ports.ts';
import type { Host, NativePart } from './host.ts';

export type Check = (host: Host) => Promise<Finding>;

export const KERNEL_CHECKS: readonly Check[] = [
  node,
  kernel,
  privileges,
  bpffs,
  btf,
  packetHooks,
  tun,
  wireguard,
  (host) => nativePart(host, 'kernel', 'missing', 'the data plane'),
  (host) => nativePart(host, 'bpf', 'missing', 'the packet filter'),
  (host) => nativePart(host, 'sandbox', 'missing', 'terminators'),
  jail,
  (host) => nativePart(host, 'crypto', 'warning', 'fast handshakes; node:crypto stands in, at several times the cost'),
];

async function node({ nodeVersion }: Host): Promise<Finding> {
  if (isAtLeast(nodeVersion.replace(/^v/, ''), 24, 15)) return ok('node', nodeVersion);
  return missing(
    'node',
    `${nodeVersion}, where 24.15 is needed`,
    'install Node 24.15 or later; in a checkout: npm ci, then npx shellstream',
  );
}

async function kernel({ kernelRelease }: Host): Promise<Finding> {
  if (isAtLeast(kernelRelease, 6, 1)) return ok('kernel', kernelRelease);
  const mend = 'apt-get install linux-image-amd64, then reboot';
  if (isAtLeast(kernelRelease, 5, 10)) return warning('kernel', `${kernelRelease}: tested from 6.1 on`, mend);
  return missing('kernel', `${kernelRelease} is older than 5.10`, mend);
}

async function privileges(host: Host): Promise<Finding> {
  const status = await host.readText('/proc/self/status');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status ?? '')?.[1] ?? '0'}`);
  const has = (bit: bigint): boolean => (effective & (1n << bit)) !== 0n;
  const lacking = CAPABILITIES.filter(({ bits }) => !bits.some(has)).map(({ name }) => name);
  if (lacking.length === 0) return ok('privileges', CAPABILITIES.map(({ name }) => name).join(', '));
  const mend = 'run it as root, or as the unit that gives it just these: systemctl enable --now shellstream@main';
  return missing('privileges', `without ${lacking.join(', ')}`, mend);
}

async function bpffs(host: Host): Promise<Finding> {
  const mounts = await host.readText('/proc/mounts');
  if (/^\S+ \/sys\/fs\/bpf bpf /m.test(mounts ?? '')) return ok('bpffs', 'mounted on /sys/fs/bpf');
  return warning('bpffs', 'not mounted; the gateway mounts it when it may', 'mount -t bpf bpf /sys/fs/bpf');
}

async function btf(host: Host): Promise<Finding> {
  const path = '/sys/kernel/btf/vmlinux';
  if ((await host.readText(path)) !== undefined) return ok('btf', path);
  return warning('btf', 'the kernel has none: maps are shown without types', 'apt-get install linux-image-amd64');
}

async function packetHooks(host: Host): Promise<Finding> {
  if (isAtLeast(host.kernelRelease, 6, 6)) return ok('packet hooks', 'tcx');
  const modules = `/lib/modules/${host.kernelRelease}`;
  const lists = await Promise.all([
    host.readText(`${modules}/modules.dep`),
    host.readText(`${modules}/modules.builtin`),
    host.readText('/proc/modules'),
  ]);
  if (lists.some((list) => list?.includes('sch_ingress'))) return ok('packet hooks', 'clsact');
  return missing('packet hooks', 'neither tcx (kernel 6.6) nor clsact', 'modprobe sch_ingress');
}

async function tun(host: Host): Promise<Finding> {
  const why = await host.whyNotOpen('/dev/net/tun');
  if (why === undefined) return ok('tun', '/dev/net/tun opens');
  return warning('tun', `/dev/net/tun: ${why}; only the kernel's WireGuard works without`, 'modprobe tun');
}

async function wireguard(host: Host): Promise<Finding> {
  const { driver, why } = await host.probeTunnel();
  if (driver !== 'none') return ok('wireguard', `${driver}: ${why}`);
  return missing('wireguard', why, 'modprobe wireguard, or modprobe tun for the embedded one');
}

/** Units and containers are a jail themselves; only a gateway that starts its terminators as root needs one of its own. */
async function jail(host: Host): Promise<Finding> {
  const why = await host.whyNotJailed();
  if (why === undefined) return ok('jail', 'bubblewrap and setpriv make one for terminators');
  const mend = 'apt-get install bubblewrap util-linux, or terminators in units of their own: deploy/README.md';
  return warning('jail', why, mend);
}

async function nativePart(host: Host, part: NativePart, state: 'missing' | 'warning', use: string): Promise<Finding> {
  const why = await host.whyNotLoaded(part);
  if (why === undefined) return ok(`native ${part}`, 'built and loads');
  return { name: `native ${part}`, state, detail: `${why} (needed for ${use})`, mend: rebuilt(part) };
}

/** A package brings its parts along, for Linux on x64 with glibc; a checkout makes them. */
function rebuilt(part: NativePart): string {
  return `in a checkout: sh native/build.sh ${part}; installed: take a package that was packed on this platform`;
}

export function ok(name: string, detail: string): Finding {
  return { name, state: 'ok', detail };
}

export function warning(name: string, detail: string, mend: string): Finding {
  return { name, state: 'warning', detail, mend };
}

export function missing(name: string, detail: string, mend: string): Finding {
  return { name, state: 'missing', detail, mend };
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [, first, second] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(first) > major || (Number(first) === major && Number(second) >= minor);
}

/** Each is there when one of its bits is (linux/capability.h); SYS_ADMIN holds what BPF and PERFMON were split from. */
const CAPABILITIES: readonly { readonly name: string; readonly bits: readonly bigint[] }[] = [
  { name: 'CAP_NET_ADMIN', bits: [12n] },
  { name: 'CAP_BPF', bits: [39n, 21n] },
  { name: 'CAP_PERFMON', bits: [38n, 21n] },
];
