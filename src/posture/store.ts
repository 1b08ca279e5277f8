/** What the sources of posture said, kept on disk: a level outlives a crash and a reboot. */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { openPostureJournal, type PostureJournal } from './journal.ts';
import { checksum, type KeptPosture, keptDocument, keptFields, keptOf, parseDocument, type Sha256 } from './kept.ts';
import { lockdownsWithout, recover } from './recovery.ts';

export interface PostureStore {
  /** Resolves when it is durable. */
  save(posture: KeptPosture): Promise<void>;
}

export interface PosturePlace {
  /** It is there. */
  readonly folder: string;
  /** Of the kernel that runs now. */
  readonly bootId: string;
  readonly sha256: Sha256;
}

/** Record and journal in the folder, and what they hold together. Writes nothing. */
export async function openPostureStore(place: PosturePlace, now: number): Promise<OpenedPosture> {
  const store = new PostureFile(place);
  const { journal, read } = await openPostureJournal(place.folder, place.sha256);
  const problems = read.problem === undefined ? [] : [read.problem];
  const record = await store.load().catch((error: unknown) => {
    problems.push(error instanceof Error ? error.message : String(error));
    return 'unreadable' as const;
  });
  const known = typeof record === 'object' ? record : undefined;
  return {
    store,
    journal,
    ...recover(known?.kept ?? (record === 'unreadable' ? record : 'none'), read, now),
    lockdownsWithout: (step) => lockdownsWithout(step, read),
    isSameBoot: known?.bootId === place.bootId,
    ...(problems.length === 0 ? {} : { problem: problems.join('; ') }),
  };
}

export interface OpenedPosture {
  readonly store: PostureStore;
  readonly journal?: PostureJournal;
  readonly kept: KeptPosture | undefined;
  /** The stricter end of a change that was cut off. */
  readonly cutOffAt?: PostureLevel | undefined;
  /** The strictest level that disk knows of. */
  readonly strictest?: PostureLevel | undefined;
  /** To which the last change went. */
  readonly lastLevel?: PostureLevel | undefined;
  /** Epochs of changes to lockdown that began, and of which the journal does not say that this step of theirs was taken. */
  readonly lockdownsWithout?: (step: string) => readonly bigint[];
  /** Whether the kernel's own memory is what it was when it was written. */
  readonly isSameBoot: boolean;
  /** What could not be read of it, and why. */
  readonly problem?: string;
}

const FILE = 'posture.json';
/** Sources are few and their reasons short. */
const MAX_BYTES = 65_536;

class PostureFile implements PostureStore {
  readonly #path: string;
  #last: Promise<unknown> = Promise.resolve();
  readonly #place: PosturePlace;
  #next: KeptPosture | undefined;

  constructor(place: PosturePlace) {
    this.#path = join(place.folder, FILE);
    this.#place = place;
  }

  async load(): Promise<ReturnType<typeof parse> | undefined> {
    const bytes = await readFile(this.#path).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    });
    return bytes === undefined ? undefined : parse(bytes, this.#place.sha256);
  }

  /** Whatever is asked for while one is being written is written once, after it. */
  save(posture: KeptPosture): Promise<void> {
    this.#next = posture;
    const saved = this.#last.then(() => this.#write());
    this.#last = saved.catch(() => undefined);
    return saved;
  }

  async #write(): Promise<void> {
    const posture = this.#next;
    this.#next = undefined;
    if (posture === undefined) return;
    const fresh = `${this.#path}.new`;
    {
      await using file = await open(fresh, 'w', 0o600);
      await file.writeFile(text(posture, this.#place));
      await file.sync();
    }
    await rename(fresh, this.#path);
    await using folder = await open(dirname(this.#path), 'r');
    await folder.sync();
  }
}

/** A checksum in hex, a line feed, and JSON. */
function text(posture: KeptPosture, { bootId, sha256 }: PosturePlace): string {
  const json = `${JSON.stringify({ version: 1, bootId, ...keptDocument(posture) }, undefined, 2)}\n`;
  return `${checksum(json, sha256)}\n${json}`;
}

const recordSchema = z.strictObject({ version: z.literal(1), bootId: z.string().max(64), ...keptFields });

function parse(bytes: Uint8Array, sha256: Sha256): { readonly kept: KeptPosture; readonly bootId: string } {
  if (bytes.length > MAX_BYTES) throw new ShellstreamError('MALFORMED', `a record of ${bytes.length} bytes`);
  const [sum = '', ...rest] = new TextDecoder().decode(bytes).split('\n');
  const json = rest.join('\n');
  if (sum !== checksum(json, sha256)) throw new ShellstreamError('MALFORMED', 'the record of the posture is damaged');
  const record = parseDocument(recordSchema, json, 'the record of the posture');
  return { kept: keptOf(record), bootId: record.bootId };
}
