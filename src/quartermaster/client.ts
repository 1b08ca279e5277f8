/** Ways to a Quartermaster: another host's by SPIFFE ID, this host's by its socket, this process's own. */
import { connect, type Socket } from 'node:net';
import { type Client, createClient, createRouterTransport, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ShellstreamError } from '../../protocol/errors.ts';
import { Quartermaster as QuartermasterService } from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { SUBMIT_LIMITS } from '../../protocol/quartermaster/index.ts';
import { grpcOver } from '../identity/spiffe-grpc.ts';
import { connectSpiffeTls, type SpiffeTlsParts } from '../identity/spiffe-tls.ts';
import type { Caller } from './access.ts';
import type { Quartermaster } from './service.ts';

export type QuartermasterClient = Client<typeof QuartermasterService>;

/** One connection. When it is gone its calls fail, and whoever wants more connects again. */
export interface QuartermasterLink extends Disposable {
  readonly client: QuartermasterClient;
}

export interface RemoteQuartermaster {
  readonly address: { readonly host: string; readonly port: number };
  /** Nobody else is told anything. */
  readonly spiffeId: SpiffeId;
}

/** @throws ShellstreamError as `connectSpiffeTls` */
export async function linkBySpiffe(
  tls: SpiffeTlsParts,
  { address, spiffeId }: RemoteQuartermaster,
  signal: AbortSignal,
): Promise<QuartermasterLink> {
  const connection = await connectSpiffeTls(tls, address, (peer) => peer === spiffeId, signal);
  return linkOf(grpcOver(connection, { maxMessageBytes: SUBMIT_LIMITS.messageBytes }), connection.socket);
}

/** @throws ShellstreamError CONNECTION_LOST when none answers there */
export async function linkBySocket(path: string): Promise<QuartermasterLink> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (cause) => {
      reject(new ShellstreamError('CONNECTION_LOST', `${path}: no Quartermaster answers there`, { cause }));
    });
  });
  // Whoever calls hears of its end; without a listener an error would end the process.
  socket.on('error', () => undefined);
  const transport = createGrpcTransport({
    baseUrl: 'http://localhost',
    readMaxBytes: SUBMIT_LIMITS.messageBytes,
    nodeOptions: { createConnection: () => socket },
  });
  return linkOf(transport, socket);
}

export function linkWithin(quartermaster: Quartermaster, caller: Caller): QuartermasterLink {
  return linkOf(createRouterTransport(quartermaster.routes(() => caller)));
}

function linkOf(transport: Transport, socket?: Socket): QuartermasterLink {
  return { client: createClient(QuartermasterService, transport), [Symbol.dispose]: () => void socket?.destroy() };
}
