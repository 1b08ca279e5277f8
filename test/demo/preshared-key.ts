/**
 * Two pairs of WireGuard devices between two namespaces. Their pre-shared keys come out of one handshake of ours; in one
 * of the pairs one bit of it is flipped at one end.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { deriveSecrets, initiate, respond, VERSION } from '../../protocol/handshake/index.ts';
import { parseAddress } from '../../protocol/net/address.ts';
import { hostPrefix, parseInterfaceAddress } from '../../protocol/net/prefix.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';
import { createLinuxNetwork } from '../../src/dataplane/linux/network.ts';
import { createLinuxTunnels } from '../../src/dataplane/linux/tunnels.ts';
import type { TunnelDevice } from '../../src/dataplane/ports.ts';
import { publicKeyOf } from '../../src/dataplane/tunnel-rules.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';
import { UDP } from '../support/pcap.ts';

/** What was on the wire of one pair: WireGuard messages by type. */
export interface PairResult {
  readonly initiations: number;
  readonly responses: number;
  readonly data: number;
  /** Whether a ping through it was answered. */
  readonly answered: boolean;
  /** Whether either end has a handshake that counts. */
  readonly handshaken: boolean;
}

/** Takes some six seconds: WireGuard's own time until an initiator that got no usable response tries again. */
export async function tryFlippedBit(directory: string): Promise<{ same: PairResult; flipped: PairResult }> {
  await using parts = new AsyncDisposableStack();
  const left = parts.use(await createNamespace('psk-left'));
  const right = parts.use(await createNamespace('psk-right'));
  await connect(
    { in: left, name: 'wan', addresses: ['192.0.2.1/30'] },
    { in: right, name: 'wan', addresses: ['192.0.2.2/30'] },
  );
  const capture = parts.use(await Capture.start(left, 'wan', join(directory, 'psk.pcap')));
  const presharedKey = keyOfOneHandshake();
  const turned = Uint8Array.from(presharedKey);
  turned[31] = (turned[31] ?? 0) ^ 1;

  const same = await openPair(parts, left, right, {
    name: 's',
    port: 51_821,
    net: '10.61.0',
    keys: [presharedKey, presharedKey],
  });
  const flipped = await openPair(parts, left, right, {
    name: 'f',
    port: 51_822,
    net: '10.62.0',
    keys: [presharedKey, turned],
  });
  const [answeredSame, answeredFlipped] = await Promise.all([pings(left, '10.61.0.2'), pings(left, '10.62.0.2')]);
  const count = async (port: number, type: number): Promise<number> =>
    (await capture.packets()).filter(
      ({ ip }) => ip?.protocol === UDP && ip.sourcePort === port && ip.payload[0] === type,
    ).length;
  // The second initiation says that the first response was not taken.
  await eventually('a second initiation of the flipped pair', async () => (await count(51_822, 1)) >= 2);

  const result = async (pair: Pair, port: number, answered: boolean): Promise<PairResult> => ({
    initiations: await count(port, 1),
    responses: await count(port, 2),
    data: await count(port, 4),
    answered,
    handshaken: await isHandshaken(pair),
  });
  return { same: await result(same, 51_821, answeredSame), flipped: await result(flipped, 51_822, answeredFlipped) };
}

/** The pre-shared key that both sides of a handshake derive. */
function keyOfOneHandshake(): Uint8Array {
  const crypto = loadCryptoProvider();
  const evidence = { chain: [new Uint8Array([1])], signature: new Uint8Array([1]), body: new Uint8Array([1]) };
  const keys = (): { crypto: typeof crypto; staticKey: ReturnType<typeof crypto.x25519Generate> } => ({
    crypto,
    staticKey: crypto.x25519Generate(),
  });
  const init = initiate(keys(), { versions: [VERSION], sessionType: 'mesh', mode: 'overlay' });
  const verify = respond(keys()).readInit(init.record).writeVerify(evidence);
  const confirm = init.next.readVerify(verify.record).writeConfirm(evidence);
  const received = verify.next.readConfirm(confirm.record);
  const [ours, theirs] = [crypto.randomBytes(32), crypto.randomBytes(32)];
  const [initiator, responder] = [confirm.next.handshakeHash, received.handshakeHash].map(
    (hash) => deriveSecrets(crypto, hash, ours, theirs).presharedKey,
  );
  if (initiator === undefined || responder === undefined || Buffer.compare(initiator, responder) !== 0) {
    throw new Error('the two ends derived different keys');
  }
  return initiator;
}

type Pair = readonly [TunnelDevice, TunnelDevice];

interface PairSpec {
  readonly name: string;
  readonly port: number;
  /** Inner addresses are .1 and .2 of it. */
  readonly net: string;
  readonly keys: readonly [Uint8Array, Uint8Array];
}

async function openPair(
  parts: AsyncDisposableStack,
  left: Namespace,
  right: Namespace,
  { name, port, net, keys }: PairSpec,
): Promise<Pair> {
  const open = async (namespace: Namespace, side: 1 | 2): Promise<{ device: TunnelDevice; privateKey: Uint8Array }> => {
    const privateKey = randomBytes(32);
    const tunnels = createLinuxTunnels({ kind: 'embedded', namespace: namespace.path });
    const device = parts.use(
      await tunnels.create({
        name: `shp${process.pid.toString(36)}${name}${side}`,
        privateKey,
        listenPort: port,
        mtu: 1420,
      }),
    );
    const network = createLinuxNetwork({ namespace: namespace.path });
    await network.addAddress(device.ifindex, parseInterfaceAddress(`${net}.${side}/24`));
    await network.setUp(device.ifindex);
    return { device, privateKey };
  };
  const [a, b] = [await open(left, 1), await open(right, 2)];
  const join = (from: typeof a, to: typeof a, side: 1 | 2, presharedKey: Uint8Array): Promise<void> =>
    from.device.addPeer({
      publicKey: publicKeyOf(to.privateKey),
      presharedKey,
      endpoint: { address: `192.0.2.${side}`, port },
      allowedIps: [hostPrefix(parseAddress(`${net}.${side}`))],
      keepalive: 0,
    });
  await join(a, b, 2, keys[0]);
  await join(b, a, 1, keys[1]);
  return [a.device, b.device];
}

async function pings(from: Namespace, to: string): Promise<boolean> {
  return (await from.attempt('ping', ['-c4', '-i0.3', '-W1', to])).code === 0;
}

async function isHandshaken(pair: Pair): Promise<boolean> {
  const peers = (await Promise.all(pair.map((device) => device.peers()))).flat();
  return peers.some(({ handshakeAgeMs }) => handshakeAgeMs !== undefined);
}
