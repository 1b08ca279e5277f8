/** Use of the console, as evidence. It has the room that is kept, and what cannot be recorded keeps nobody from it. */
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import { REASONS } from '../../protocol/reasons.ts';
import type { Logger } from '../base/logger.ts';
import type { ConsoleUse, ControlOptions } from '../control/server.ts';
import type { EnforcerNode } from './enforcer.ts';
import type { NodeEvidence } from './evidence.ts';

/** What the control API needs for it; nothing where none is kept. */
export function consoleEvidence(node: EnforcerNode): Pick<ControlOptions, 'onUse' | 'isFull'> {
  const { world, posture, evidence } = node;
  if (evidence === undefined) return {};
  const { crypto, log, accord } = world;
  return {
    onUse: recordConsole(evidence, crypto, log),
    isFull: () => {
      const { payload, frameHeaders } = accord.accord.levels[posture.level].notarisation;
      return payload === 'full-hash' || frameHeaders;
    },
  };
}

export function recordConsole(
  { store }: NodeEvidence,
  { sha256 }: Pick<CryptoProvider, 'sha256'>,
  log: Logger,
): (use: ConsoleUse) => Promise<void> {
  return async ({ by, verb, request, refused, isLook, passed }) => {
    const value = {
      uid: by.uid,
      pid: by.pid,
      verb,
      argumentsHash: sha256(request),
      reason: refused === undefined ? 0 : REASONS[refused].code,
      look: isLook,
      ...passed,
    };
    try {
      await store.record({ case: 'consoleUse', value });
    } catch (error) {
      log.error('a use of the console is not recorded', { uid: by.uid, verb, error });
    }
  };
}
