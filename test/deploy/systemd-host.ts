/** A host of its own for the systemd unit: network, processes, files and systemd, and a gateway of alpha.test installed. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startTrustDomain } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { eventually } from '../support/eventually.ts';
import { attempt, type Finished, type Running, run, start } from '../support/processes.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const BOOT = fileURLToPath(new URL('children/boot-systemd.sh', import.meta.url));

export const UNIT = join(REPOSITORY, 'deploy/systemd/shellstream@.service');
export const BOOT_UNIT = join(REPOSITORY, 'deploy/systemd/shellstream-boot@.service');
export const TERMINATOR_UNIT = join(REPOSITORY, 'deploy/systemd/shellstream-terminator@.service');

/** Where SPIRE's agent has its socket unless told. */
const AGENT = '/run/spire/agent/public';

export class SystemdHost implements AsyncDisposable {
  readonly #owned: AsyncDisposableStack;
  readonly #system: Running;
  readonly #log: string;

  private constructor(owned: AsyncDisposableStack, system: Running, log: string) {
    this.#owned = owned;
    this.#system = system;
    this.#log = log;
  }

  /** Resolves when systemd has been started; it starts the gateway. */
  static async boot(): Promise<SystemdHost> {
    await using owned = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'shs-systemd-'));
    owned.defer(() => rm(directory, { recursive: true, force: true }));
    await chmod(directory, 0o755);
    const domain = owned.use(
      await startTrustDomain({ name: 'alpha.test', directory: join(directory, 'ca'), clock: systemClock }),
    );
    const { socketPath } = await domain.register({ path: '/gateway', tier: 'master' });
    // SPIRE's agent lets everybody connect and tells callers apart by itself.
    await run('chmod', ['-R', 'a+rwX', dirname(socketPath)]);
    const log = join(directory, 'gateway.log');
    await writeFile(log, '');
    await writeFile(join(directory, 'main.yaml'), configuration(basename(socketPath)));
    await writeFile(join(directory, 'accord.yaml'), ACCORD);
    await writeFile(join(directory, 'install.sh'), installation(directory, dirname(socketPath), log));
    const system = owned.use(start('sh', [BOOT, directory, REPOSITORY, process.execPath]));
    return new SystemdHost(owned.move(), system, log);
  }

  /** Waits until the gateway has logged it so many times. */
  async logged(message: string, times = 1): Promise<void> {
    await eventually(`${times} × ${message}`, async () => {
      const lines = (await readFile(this.#log, 'utf8')).split('\n');
      if (lines.filter((line) => line.includes(`"msg":"${message}"`)).length >= times) return true;
      throw new Error(`${lines.join('\n')}${this.#system.sofar().stderr}`);
    });
  }

  /** As root of that host. */
  async inside(...command: readonly string[]): Promise<Finished> {
    // The script waits for unshare, which waits for systemd.
    const systemd = await childOf(await childOf(this.#system.pid));
    return await attempt('nsenter', [`--target=${systemd}`, '--all', '--', 'env', `PATH=${PATH}`, ...command]);
  }

  /** One property of a unit; the gateway's unless named. */
  async property(name: string, unit = 'shellstream@main'): Promise<string> {
    return (await this.inside('systemctl', 'show', '-P', name, unit)).stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

async function childOf(pid: number | string): Promise<string> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const [child] = children.trim().split(' ');
  if (child === undefined || child === '') throw new Error(`process ${pid} has no child`);
  return child;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const configuration = (socket: string): string => `apiVersion: shellstream/v1
site: { trustDomain: alpha.test }
wireguard: { addresses: [10.9.0.1/24] }
workloadApi: { socket: ${AGENT}/${socket} }
terminators: { socket: /run/shellstream-terminators/main/gateway.sock }
`;

const ACCORD = `apiVersion: shellstream.accord/v1
id: site-alpha
extends: default
serial: 1
signer: none
minimumVersion: 1
`;

/** What deploy/README.md tells to do by hand, the agent's socket, and the log to where the test reads it. */
const installation = (directory: string, agent: string, log: string): string => `
cd /opt/shellstream/deploy/systemd
install -D -m 0644 shellstream.sysusers /usr/lib/sysusers.d/shellstream.conf
install -D -m 0644 -t /etc/systemd/system shellstream@.service shellstream-terminator@.service shellstream-boot@.service
systemd-sysusers shellstream.conf
install -D -m 0644 -t /etc/shellstream ${directory}/main.yaml ${directory}/accord.yaml
systemctl --root=/ --quiet enable shellstream-boot@main shellstream@main shellstream-terminator@1 shellstream-terminator@2

mkdir -p ${AGENT}
mount --bind ${agent} ${AGENT}
for unit in shellstream shellstream-terminator shellstream-boot; do
  mkdir /etc/systemd/system/$unit@.service.d
  printf '[Service]\nStandardError=append:${log}\n' >/etc/systemd/system/$unit@.service.d/log.conf
done
`;
