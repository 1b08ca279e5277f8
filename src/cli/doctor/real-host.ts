/** This host, for the doctor. */
import { createSocket } from 'node:dgram';
import { open, readFile, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { release } from 'node:os';
import { loadAccord } from '../../base/accord-file.ts';
import type { Clock } from '../../base/clock.ts';
import { loadConfig } from '../../base/config.ts';
import { loadNativeCrypto } from '../../base/crypto-native.ts';
import { nodeCrypto } from '../../base/crypto-node.ts';
import { probeJail } from '../../base/jail.ts';
import { jailUserOfHost } from '../../base/jail-user.ts';
import { sandboxAddon } from '../../base/sandbox.ts';
import { probeTunnelDriver } from '../../dataplane/linux/index.ts';
import { flowProgramsPath, kernelAddon } from '../../dataplane/linux/native.ts';
import { connectWorkloadApi } from '../../identity/workload-api.ts';
import type { Host, NativePart, TunnelProbe, WorkloadIdentity } from './host.ts';

export function realHost(clock: Clock): Host {
  return {
    kernelRelease: release(),
    nodeVersion: process.version,
    readText,
    whyNotOpen,
    whyNotBound,
    loadConfig,
    loadAccord: (path) => loadAccord(path, nodeCrypto.sha256),
    workloadIdentity: (socket) => workloadIdentity(socket, clock),
    whyNotLoaded,
    whyNotJailed: async () => probeJail({ node: process.execPath, ...(await jailUserOfHost('doctor')) }),
    probeTunnel,
  };
}

async function readText(path: string): Promise<string | undefined> {
  return await readFile(path, 'latin1').catch(() => undefined);
}

async function whyNotOpen(path: string): Promise<string | undefined> {
  try {
    await using _file = await open(path, 'r+');
    return undefined;
  } catch (error) {
    return words(error);
  }
}

function whyNotBound(kind: 'tcp' | 'udp', address: string, port: number): Promise<string | undefined> {
  return kind === 'tcp' ? whyNotListening(address, port) : whyNotReceiving(address, port);
}

function whyNotListening(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(words(error)));
    server.listen({ host, port }, () => server.close(() => resolve(undefined)));
  });
}

function whyNotReceiving(address: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.once('error', (error) => {
      socket.close();
      resolve(words(error));
    });
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve(undefined)));
  });
}

async function workloadIdentity(socket: string, clock: Clock): Promise<WorkloadIdentity> {
  const why = await whyNotConnected(socket);
  if (why !== undefined) throw new Error(why);
  const silence = new AbortController();
  const timer = clock.after(SILENCE_MS, () => silence.abort(new Error(`no answer within ${SILENCE_MS} ms`)));
  try {
    for await (const { identities, bundles } of connectWorkloadApi(socket, () => clock.now()).x509Contexts(
      silence.signal,
    )) {
      return {
        spiffeIds: identities.map(({ spiffeId }) => spiffeId),
        expiresAtMs: identities[0]?.expiresAt,
        trustDomains: [...bundles.keys()],
      };
    }
    throw new Error('the Workload API ended without an answer');
  } finally {
    timer.cancel();
    silence.abort();
  }
}

/** Told apart from a refusal of the agent: the transport calls both unavailable. */
function whyNotConnected(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error) => resolve(words(error)));
  });
}

async function whyNotLoaded(part: NativePart): Promise<string | undefined> {
  try {
    switch (part) {
      case 'crypto':
        loadNativeCrypto();
        return undefined;
      case 'kernel':
        kernelAddon();
        return undefined;
      case 'sandbox':
        sandboxAddon();
        return undefined;
      case 'bpf':
        await stat(flowProgramsPath());
        return undefined;
    }
  } catch (error) {
    return error instanceof Error && error.cause instanceof Error ? words(error.cause) : words(error);
  }
}

/** As the gateway chooses; the embedded driver needs a TUN device as well. */
async function probeTunnel(): Promise<TunnelProbe> {
  try {
    const { kind, why } = probeTunnelDriver();
    if (kind === 'kernel') return { driver: kind, why };
    const whyNoTun = await whyNotOpen('/dev/net/tun');
    if (whyNoTun === undefined) return { driver: kind, why };
    return { driver: 'none', why: `${why}; the embedded one has no /dev/net/tun: ${whyNoTun}` };
  } catch (error) {
    return { driver: 'none', why: words(error) };
  }
}

/** The first line: what a loader adds below is its call stack. */
function words(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n', 1)[0] ?? text;
}

const SILENCE_MS = 3_000;
