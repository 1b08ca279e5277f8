/** Quartermaster for other hosts: mutual TLS between SVIDs, and what an identity may is what the configuration lists. */
import { ShellstreamError } from '../../protocol/errors.ts';
import { SUBMIT_LIMITS } from '../../protocol/quartermaster/index.ts';
import type { Logger } from '../base/logger.ts';
import { peerOf, serveSpiffeGrpc } from '../identity/spiffe-grpc.ts';
import type { SpiffeTlsListener, SpiffeTlsParts } from '../identity/spiffe-tls.ts';
import { type AccessRules, callerOf } from './access.ts';
import type { Quartermaster } from './service.ts';

export interface RemoteServerParts {
  readonly tls: SpiffeTlsParts;
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  readonly quartermaster: Quartermaster;
  readonly rules: AccessRules;
  readonly log: Logger;
}

export function serveRemotely({
  tls,
  quartermaster,
  rules,
  log,
  ...at
}: RemoteServerParts): Promise<SpiffeTlsListener> {
  return serveSpiffeGrpc(tls, {
    ...at,
    accepts: (peer) => callerOf(rules, peer) !== undefined,
    maxConnections: MOST_CONNECTIONS,
    maxMessageBytes: SUBMIT_LIMITS.messageBytes,
    onRefused: (error) => log.warn('a stranger was refused', { error }),
    routes: quartermaster.routes((context) => {
      const peer = peerOf(context);
      const caller = callerOf(rules, peer);
      if (caller === undefined) throw new ShellstreamError('WRONG_IDENTITY', 'a stranger', { fields: { peer } });
      return caller;
    }),
  });
}

const MOST_CONNECTIONS = 1_024;
