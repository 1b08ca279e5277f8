import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../test/support/processes.ts';
import { goProgram } from '../peers/go-program.ts';
import type { Device, DeviceSpec, Make, Peer } from './device.ts';

/** A peer: wireguard-go, configured by `wg` with all peers in one file, which is its best case. */
export const wireguardGo: Make = {
  name: 'wireguard-go',
  async open({ namespace, name, privateKey, listenPort }: DeviceSpec): Promise<Device> {
    const program = await goProgram('wireguard-go', 'golang.zx2c4.com/wireguard');
    await using stack = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'shs-bench-'));
    stack.defer(() => rm(directory, { recursive: true, force: true }));
    const file = join(directory, 'wg.conf');
    const device = `[Interface]\nPrivateKey = ${base64(privateKey)}\nListenPort = ${listenPort}\n`;
    const process = stack.use(namespace.start(program, ['-f', name], { env: { LOG_LEVEL: 'debug' } }));
    await process.line(/UAPI listener started/);
    const configure = async (verb: 'setconf' | 'addconf', text: string): Promise<void> => {
      await writeFile(file, text, { mode: 0o600 });
      await run('wg', [verb, name, file]);
    };
    await configure('setconf', device);
    await namespace.run('ip', ['link', 'set', name, 'up']);
    const owned = stack.move();
    return {
      name,
      pid: process.pid,
      addPeers: (peers) => configure('addconf', peers.map(section).join('')),
      removeAllPeers: () => configure('setconf', device),
      peerCount: async () => (await run('wg', ['show', name, 'peers'])).stdout.trim().split('\n').length,
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};

function section({ publicKey, presharedKey, allowedIp, endpoint }: Peer): string {
  const lines = [
    '[Peer]',
    `PublicKey = ${base64(publicKey)}`,
    `PresharedKey = ${base64(presharedKey)}`,
    `AllowedIPs = ${allowedIp.address.join('.')}/${allowedIp.length}`,
    ...(endpoint === undefined ? [] : [`Endpoint = ${endpoint.address}:${endpoint.port}`]),
  ];
  return `${lines.join('\n')}\n`;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
