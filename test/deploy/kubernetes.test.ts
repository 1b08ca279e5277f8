/** The Kustomize base: built by Kustomize, decoded strictly into the API server's own types, and held to its promises. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { loadAccord } from '../../src/base/accord-file.ts';
import { loadConfig } from '../../src/base/config.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { run } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';

const BASE = fileURLToPath(new URL('../../deploy/kubernetes/', import.meta.url));
const BUILDER = fileURLToPath(new URL('manifests/', import.meta.url));
/** A cold build downloads Kustomize and compiles it. */
const BUILD_MS = 600_000;

describeWith(['go'], 'the Kustomize base', () => {
  let objects: readonly Manifest[] = [];

  beforeAll(async () => {
    const built = await run('go', ['run', '-p', '2', '.', BASE], { cwd: BUILDER, timeoutMs: BUILD_MS });
    objects = JSON.parse(built.stdout);
  }, BUILD_MS);

  test('is a namespace, an identity, a DaemonSet and its configuration, and no kind of its own', () => {
    expect(objects.map(({ kind }) => kind).sort()).toEqual(['ConfigMap', 'DaemonSet', 'Namespace', 'ServiceAccount']);
    for (const { kind, metadata } of objects) {
      if (kind !== 'Namespace') expect(metadata.namespace).toBe('shellstream');
    }
  });

  test('the gateway has the capabilities of the systemd unit and no way to more', async () => {
    const unit = await readFile(new URL('../../deploy/systemd/shellstream@.service', import.meta.url), 'utf8');
    const granted = /^CapabilityBoundingSet=(.*)$/m.exec(unit)?.[1]?.replaceAll('CAP_', '').split(' ');
    expect(gateway().securityContext).toMatchObject({
      capabilities: { drop: ['ALL'], add: granted },
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
    });
  });

  test('a terminator has no capability and no file but the way to the gateway, which lets in its user alone', async () => {
    const { terminators } = await loadConfig(join(BASE, 'main.yaml'));
    const { args, securityContext, volumeMounts } = container('terminator');
    expect(args).toEqual(['terminator', '--socket', terminators.socket]);
    expect(securityContext).toMatchObject({
      runAsUser: terminators.user,
      runAsNonRoot: true,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
    });
    expect(securityContext.capabilities).not.toHaveProperty('add');
    const [mount, ...others] = volumeMounts;
    expect(others).toEqual([]);
    expect(`${terminators.socket}`.startsWith(`${mount?.mountPath}/`)).toBe(true);
    expect(gateway().volumeMounts).toContainEqual(mount);
    expect(pod().volumes).toContainEqual({ name: mount?.name, emptyDir: { medium: 'Memory' } });
    // Without chown(2) the gateway may give its socket to a group that it is in.
    expect(pod().securityContext).toEqual({ supplementalGroups: [terminators.user] });
  });

  test('its configuration and its accord load, and are the ones that it is started with', async () => {
    const config = await loadConfig(join(BASE, 'main.yaml'));
    expect(gateway().args).toEqual(['gateway', '--config', '/etc/shellstream/main.yaml']);
    expect(config.accord.file).toBe('/etc/shellstream/accord.yaml');
    await loadAccord(join(BASE, 'accord.yaml'), nodeCrypto.sha256);
    const map = objects.find(({ kind }) => kind === 'ConfigMap');
    expect(Object.keys(map?.data ?? {}).sort()).toEqual(['accord.yaml', 'main.yaml']);
    expect(pod().volumes).toContainEqual({ name: 'config', configMap: { name: map?.metadata.name } });
  });

  test('the probes ask where the gateway answers, from the network that it is in', async () => {
    const { metrics } = await loadConfig(join(BASE, 'main.yaml'));
    expect(pod().hostNetwork).toBe(true);
    for (const [probe, path] of [
      [gateway().livenessProbe, '/healthz'],
      [gateway().readinessProbe, '/readyz'],
    ] as const) {
      expect(probe.httpGet).toEqual({ ...metrics.address, path });
    }
  });

  test('what the gateway needs of the node is mounted where its configuration looks for it', async () => {
    const { workloadApi, stateDirectory, runtimeDirectory, pinDirectory, control } = await loadConfig(
      join(BASE, 'main.yaml'),
    );
    const mounted = gateway().volumeMounts.map(({ mountPath }) => `${mountPath}/`);
    for (const path of [workloadApi.socket, stateDirectory, runtimeDirectory, pinDirectory, control.socket]) {
      expect(mounted.filter((mount) => path.startsWith(mount))).not.toEqual([]);
    }
    const named = new Set(pod().volumes.map(({ name }) => name));
    for (const { name } of gateway().volumeMounts) expect(named).toContain(name);
  });

  const pod = (): Pod => {
    const found = objects.find(({ kind }) => kind === 'DaemonSet')?.spec?.template?.spec;
    if (found === undefined) throw new Error('no DaemonSet with a pod');
    return found;
  };

  const container = (called: string): Container => {
    const found = pod().containers.find(({ name }) => name === called);
    if (found === undefined) throw new Error(`no container ${called}`);
    return found;
  };

  const gateway = (): Container => container('gateway');
});

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template?: { readonly spec: Pod } };
}

interface Pod {
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly hostNetwork: boolean;
  readonly volumes: readonly { readonly name: string; readonly configMap?: { readonly name: string } }[];
  readonly containers: readonly Container[];
}

interface Container {
  readonly name: string;
  readonly args: readonly string[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly livenessProbe: { readonly httpGet: Readonly<Record<string, unknown>> };
  readonly readinessProbe: { readonly httpGet: Readonly<Record<string, unknown>> };
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}
