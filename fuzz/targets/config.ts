/** The configuration file. */
import { isTrustDomain } from '../../protocol/identity/spiffe-id.ts';
import { parseConfig } from '../../src/base/config.ts';
import { lines } from '../formats/lines.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { ascii } from './examples.ts';
import { KEYS, YAML_WORDS, yamlErrors, yamlSteps } from './yaml.ts';

const SMALL = `apiVersion: shellstream/v1
instance: a1
site: {trustDomain: beta.example}
listen: {address: "::1", port: 7843}
wireguard: {driver: embedded, addresses: [10.9.0.1/24], mtu: 1420}
mesh:
  peers:
    - name: alpha
      spiffeId: spiffe://alpha.example/gateway
      address: "[fd00::1]:7843"
      request: {capabilities: [OBSERVE], targets: [{prefix: 10.1.0.0/24, protocol: tcp, port: 443}]}
      advertise: [10.2.0.0/16]
posture:
  isolate: [eth0]
  allowAtLockdown: [{interface: eth0, direction: in, remote: 10.0.0.0/8, protocol: udp, port: 161}]
metrics: {address: "127.0.0.1:9100"}
`;

export const open: OpenTarget = async () => ({
  about: 'configuration: what is taken keeps its limits, and stays in its own folders',
  covers: ['src/base/config.ts', 'src/base/config-schema.ts', 'protocol/document/'],
  maxBytes: 4_000,
  format: lines,
  dictionary: [
    ...YAML_WORDS,
    ...KEYS,
    'apiVersion',
    'isolate',
    'all-but-loopback',
    '127.0.0.1:1',
    'localhost:7843',
    '/run/x',
  ],
  seeds: [ascii(SMALL), ascii('apiVersion: shellstream/v1\nsite: {trustDomain: a}\n')],
  steps: yamlSteps,
  run(input) {
    const read = attempt(yamlErrors(input), () => parseConfig(input));
    if ('refusal' in read) return read.refusal;
    const config = read.value;
    holds(isTrustDomain(config.site.trustDomain), 'a site without a trust domain');
    holds(/^[a-z0-9]{1,10}$/.test(config.instance), 'an instance that could be a path');
    holds(config.pinDirectory === `/sys/fs/bpf/shellstream/${config.instance}`, 'pins outside their folder');
    holds(/^shs[a-z0-9-]{1,12}$/.test(config.wireguard.interface), 'an interface that is not ours');
    holds(Buffer.byteLength(config.control.socket) < 108, 'a socket path that does not fit');
    const paths = [config.control.socket, config.stateDirectory, config.runtimeDirectory, config.accord.file];
    holds(
      paths.every((path) => path.startsWith('/') && !path.includes('\0')),
      'a path that is relative or cut',
    );
    holds(new Set(config.mesh.peers.map(({ name }) => name)).size === config.mesh.peers.length, 'a peer twice');
    return `taken ${config.mesh.peers.length} ${config.posture.isolate} ${config.wireguard.driver}`;
  },
});
