/** Keeps of this node's sessions what the enforcer after this one needs to take them on. */
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Logger } from '../base/logger.ts';
import type { Standing } from './directory.ts';
import type { KeptSession } from './kept-session.ts';
import type { SessionId } from './ports.ts';
import type { StandingStore } from './standing-store.ts';

export interface KeeperParts {
  readonly store: StandingStore;
  readonly crypto: CryptoProvider;
  readonly log: Logger;
}

const TOKEN_BYTES = 32;

export class Keeper {
  readonly #parts: KeeperParts;
  /** Hashes of the tokens of sessions that are kept. */
  readonly #hashes = new Map<SessionId, Uint8Array>();

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** The token that its terminator is to claim it with; undefined where nothing is kept: it has no tunnel, or no place. */
  async keep(standing: Standing): Promise<Uint8Array | undefined> {
    const token = this.#parts.crypto.randomBytes(TOKEN_BYTES);
    this.#hashes.set(standing.admission.id, this.#parts.crypto.sha256(token));
    return (await this.#write(standing)) ? token : undefined;
  }

  /** One that a former run kept. */
  restore({ standing, resumeHash }: KeptSession): void {
    this.#hashes.set(standing.admission.id, resumeHash);
  }

  /** Something new of a session that may be kept. */
  async note(standing: Standing): Promise<void> {
    await this.#write(standing);
  }

  /** Nobody takes it on any more. Idempotent. */
  async forget(session: SessionId): Promise<void> {
    if (!this.#hashes.delete(session)) return;
    await this.#parts.store.drop(session).catch((error: unknown) => {
      this.#parts.log.error('a kept session could not be dropped', { session, error });
    });
  }

  /** Whether it is kept now. */
  async #write(standing: Standing): Promise<boolean> {
    const { store, log } = this.#parts;
    const { admission, member } = standing;
    const resumeHash = this.#hashes.get(admission.id);
    if (resumeHash === undefined) return false;
    try {
      if (member === undefined) return false;
      await store.keep({ standing: { ...standing, member }, resumeHash });
      return true;
    } catch (error) {
      log.warn('a session is not kept for a restart', { session: admission.id, error });
      await this.forget(admission.id);
      return false;
    }
  }
}
