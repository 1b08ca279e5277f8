/** One outbound session: dial, attest, wait for the grant, install it. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { HandshakeOptions } from '../../protocol/handshake/index.ts';
import type { Clock } from '../base/clock.ts';
import type { Enforcer } from '../enforcer/ports.ts';
import type { Approach } from '../enforcer/terminator-port.ts';
import type { Link } from '../link/index.ts';
import { type Attested, attestAsInitiator, readAnswer } from '../session/attest.ts';
import { LinkExchange } from '../session/link-exchange.ts';
import type { SessionRegistry } from '../session/registry.ts';
import type { Session } from '../session/session.ts';

export interface DialParts {
  readonly clock: Clock;
  readonly enforcer: Enforcer;
  readonly handshake: HandshakeOptions;
  readonly timeoutMs: number;
}

/**
 * Attests over a link that was just opened. On any failure the link is closed and nothing stands.
 * @throws ShellstreamError with the reason; `fields.byPeer` when the peer gave it
 */
export async function attestOver(link: Link, parts: DialParts, approach: Approach): Promise<Attested> {
  const { clock, enforcer, handshake, timeoutMs } = parts;
  using exchange = new LinkExchange(link, clock, timeoutMs);
  try {
    const attempt = await attestAsInitiator(exchange, { enforcer, handshake, connection: link }, approach);
    const grant = readAnswer(attempt.established, await exchange.next());
    const admission = await attempt.accept(grant);
    if (link.isClosed) {
      await enforcer.release(admission.id, 'CONNECTION_LOST');
      throw new ShellstreamError('CONNECTION_LOST');
    }
    return { admission, established: attempt.established };
  } catch (error) {
    link.close();
    throw error;
  }
}

/** As `attestOver`; the session is in the registry when it resolves. */
export async function openOver(
  link: Link,
  parts: DialParts & { readonly registry: SessionRegistry },
  approach: Approach,
): Promise<Session> {
  const attested = await attestOver(link, parts, approach);
  return parts.registry.open(link, attested, approach);
}
