/**
 * What an enforcer leaves for the one after it: sessions whose tunnels the kernel keeps up while nobody is there. A record
 * holds no secret: the pre-shared key is in the kernel, the re-attestation secret with the terminator, and of the token by
 * which the terminator claims its session only the hash is here.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../base/logger.ts';
import type { KeptSession } from './kept-session.ts';
import type { SessionId } from './ports.ts';
import { decodeKept, encodeKept } from './process/kept.ts';

export interface StandingStore {
  /** Replaces what was kept of the session. Calls take effect in their order. */
  keep(session: KeptSession): Promise<void>;
  /** Idempotent. */
  drop(session: SessionId): Promise<void>;
  /** What a former run kept under the same circumstances; the rest is dropped. */
  load(): Promise<readonly KeptSession[]>;
}

export interface StandingPlace {
  /** Made for its user alone; in memory best: a reboot makes all of it void. */
  readonly folder: string;
  /**
   * 32 bytes: the hash of whatever a session was judged by and is not judged by again, the boot, the accord and the
   * configuration among it. What was kept under others is void.
   */
  readonly circumstances: Uint8Array;
  readonly log: Logger;
}

/** One file a session. */
export async function openStandingStore(place: StandingPlace): Promise<StandingStore> {
  await mkdir(place.folder, { recursive: true, mode: 0o700 });
  return new StandingFiles(place);
}

const MAX_BYTES = 131_072;
const MAX_FILES = 4_096;
const NAME = /^[0-9a-f]{32}$/;

class StandingFiles implements StandingStore {
  readonly #place: StandingPlace;
  #last: Promise<unknown> = Promise.resolve();

  constructor(place: StandingPlace) {
    this.#place = place;
  }

  keep(session: KeptSession): Promise<void> {
    const { folder, circumstances } = this.#place;
    return this.#inTurn(async () => {
      const path = join(folder, session.standing.admission.id);
      const bytes = encodeKept(session, circumstances);
      if (bytes.length > MAX_BYTES) throw new RangeError(`${bytes.length} bytes about one session`);
      {
        await using file = await open(`${path}.new`, 'w', 0o600);
        await file.writeFile(bytes);
      }
      await rename(`${path}.new`, path);
    });
  }

  drop(session: SessionId): Promise<void> {
    return this.#inTurn(() => rm(join(this.#place.folder, session), { force: true }));
  }

  load(): Promise<readonly KeptSession[]> {
    return this.#inTurn(async () => {
      const { folder } = this.#place;
      const names = await readdir(folder);
      const kept: KeptSession[] = [];
      for (const [at, name] of names.entries()) {
        const session = at < MAX_FILES ? await this.#read(name) : undefined;
        if (session === undefined) await rm(join(folder, name), { force: true, recursive: true });
        else kept.push(session);
      }
      return kept;
    });
  }

  /** Undefined for what is not ours, of other circumstances, or cannot be read. */
  async #read(name: string): Promise<KeptSession | undefined> {
    const { folder, circumstances, log } = this.#place;
    try {
      if (!NAME.test(name)) throw new RangeError('not the name of a session');
      const bytes = await readUpTo(join(folder, name), MAX_BYTES);
      const session = decodeKept(bytes, circumstances);
      if (session !== undefined && session.standing.admission.id !== name) throw new RangeError('of another session');
      return session;
    } catch (error) {
      log.warn('a kept session cannot be read: it ends', { name: name.slice(0, 64), error });
      return undefined;
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

async function readUpTo(path: string, limit: number): Promise<Uint8Array> {
  await using file = await open(path, 'r');
  if ((await file.stat()).size > limit) throw new RangeError('too large');
  return new Uint8Array(await readFile(file));
}
