/** Use of the console, as evidence. It has the room that is kept, and what cannot be recorded keeps nobody from it. */
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import { REASONS } from '../../protocol/reasons.ts';
import type { Logger } from '../base/logger.ts';
import type { ConsoleUse } from '../control/server.ts';
import type { NodeEvidence } from './evidence.ts';

export function recordConsole(
  { store }: NodeEvidence,
  { sha256 }: Pick<CryptoProvider, 'sha256'>,
  log: Logger,
): (use: ConsoleUse) => Promise<void> {
  return async ({ by, verb, request, refused }) => {
    const value = {
      uid: by.uid,
      pid: by.pid,
      verb,
      argumentsHash: sha256(request),
      reason: refused === undefined ? 0 : REASONS[refused].code,
    };
    try {
      await store.record({ case: 'consoleUse', value });
    } catch (error) {
      log.error('a use of the console is not recorded', { uid: by.uid, verb, error });
    }
  };
}
