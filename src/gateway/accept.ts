/** From an accepted link to a live session, or to the one answer that its refusal deserves. */
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { encodeRefused, type HandshakeOptions } from '../../protocol/handshake/index.ts';
import { REASONS, type Reason } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Enforcer } from '../enforcer/ports.ts';
import type { Link } from '../link/index.ts';
import { AttestationRefused, attestAsResponder, writeAnswer } from '../session/attest.ts';
import { LinkExchange } from '../session/link-exchange.ts';
import type { SessionRegistry } from '../session/registry.ts';
import type { AdmissionControl } from './admission.ts';
import { MeteredEnforcer, meteredExchange } from './metered.ts';

export interface AcceptParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly enforcer: Enforcer;
  readonly handshake: HandshakeOptions;
  readonly registry: SessionRegistry;
  readonly admission: AdmissionControl;
  readonly handshakeTimeoutMs: number;
  /** Told how every attempt ended, and how long it took. */
  readonly onOutcome: (outcome: 'granted' | Reason, seconds: number) => void;
}

/** Never throws: whatever goes wrong ends this link and nothing else. */
export async function acceptLink(parts: AcceptParts, link: Link): Promise<void> {
  const { clock, log, enforcer, handshake, registry, admission: admissions } = parts;
  using pending = admissions.begin(link.remoteAddress);
  const { work } = pending;
  const started = clock.monotonic();
  const tell = (outcome: 'granted' | Reason): void => parts.onOutcome(outcome, (clock.monotonic() - started) / 1000);
  using exchange = new LinkExchange(link, clock, parts.handshakeTimeoutMs);
  try {
    const attested = await attestAsResponder(meteredExchange(exchange, work), {
      enforcer: new MeteredEnforcer(enforcer, work),
      handshake,
      connection: link,
    });
    const { admission, established } = attested;
    if (admission.answer === undefined) throw new Error('an admission without an answer');
    // It may have gone while the admission was made; its end was told to the handshake and is told once.
    if (link.isClosed) {
      work.rest();
      await enforcer.release(admission.id, 'CONNECTION_LOST');
      throw new ShellstreamError('CONNECTION_LOST');
    }
    link.send(writeAnswer(established, { type: 'GRANT', grant: admission.answer }));
    registry.open(link, attested);
    if (admission.offer.sessionType === 'mesh') admissions.learn(link.remoteAddress);
    tell('granted');
  } catch (error) {
    const reason = reasonOf(error);
    tell(reason);
    log.warn('handshake refused', {
      reason,
      detail: error instanceof Error ? error.message : String(error),
      from: link.remoteAddress,
      ...(error instanceof AttestationRefused ? error.fields : {}),
    });
    answerRefusal(link, error, reason);
    link.close();
  }
}

/** At lockdown silence; before keys a coarse REFUSED; after message 3 a DENY that only the peer can read. */
function answerRefusal(link: Link, error: unknown, reason: Reason): void {
  if (error instanceof AttestationRefused) {
    link.send(writeAnswer(error.established, { type: 'DENY', reason }));
    return;
  }
  if (reason === 'POSTURE_ISOLATED' || reason === 'CONNECTION_LOST') return;
  // Who was cut off mid-way by a fault of ours learns that, and no more.
  link.send(encodeRefused(REASONS[reason].fault === 'INTERNAL' ? 'INTERNAL' : reason));
}
