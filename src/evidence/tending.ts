/** What an operator orders for the log itself, one thing at a time: its key changed, a copy, that the clock is right. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Logger } from '../base/logger.ts';
import { type BackedUp, backUp } from './backup.ts';
import type { EvidencePlace } from './evidence-place.ts';
import { LogDirectory } from './log-directory.ts';
import type { Publisher } from './publisher.ts';
import { adoptNextKey, makeNextKey, provenNextKey, type RotationStep } from './rotation.ts';
import type { Spool } from './spool.ts';

export interface TendingParts {
  readonly place: EvidencePlace;
  readonly crypto: CryptoProvider;
  readonly log: Logger;
  readonly logPath: string;
  /** @throws ShellstreamError EVIDENCE_FAILED while nothing can be recorded */
  readonly opened: () => { readonly spool: Spool; readonly publisher: Publisher };
  /** Closes all, does what is given, and opens it again, with the keys that are there then. */
  readonly reopen: (between: () => Promise<void>) => Promise<void>;
  readonly verifierKeys: () => readonly string[];
}

export class Tending {
  readonly #parts: TendingParts;
  #isTended = false;

  constructor(parts: TendingParts) {
    this.#parts = parts;
  }

  /** See `rotation.ts`. Returns the verifier keys by which the log is known from then on. */
  async rotateKey(step: RotationStep): Promise<readonly string[]> {
    const { place, crypto, log, logPath, reopen } = this.#parts;
    return await this.alone(async ({ publisher }) => {
      if (step === 'begin') await makeNextKey(place, crypto);
      else {
        await publisher.publish();
        await provenNextKey(place, crypto.sha256, await new LogDirectory(logPath).checkpoint());
      }
      await reopen(async () => {
        if (step === 'finish') await adoptNextKey(place);
      });
      const verifierKeys = this.#parts.verifierKeys();
      log.warn('the key of the log changes', { step, verifierKeys });
      return verifierKeys;
    });
  }

  /** Copies spool and log into a folder beside them, which whoever asked takes away. The keys are not in it. */
  async backUp(path: string): Promise<BackedUp> {
    return await this.alone(({ spool }) => backUp(spool, this.#parts.logPath, path));
  }

  /** @throws ShellstreamError EVIDENCE_FAILED while nothing can be recorded, OVERLOADED */
  async alone<T>(act: (opened: ReturnType<TendingParts['opened']>) => Promise<T>): Promise<T> {
    const opened = this.#parts.opened();
    if (this.#isTended) throw new ShellstreamError('OVERLOADED', 'the log is being tended to already');
    this.#isTended = true;
    try {
      return await act(opened);
    } finally {
      this.#isTended = false;
    }
  }
}
