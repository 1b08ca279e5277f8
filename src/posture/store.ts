/**
 * What the sources of posture said, kept on disk: a level outlives a crash and a reboot. A record that cannot be read is
 * level 2 until somebody sets it aside, for it may have been a lockdown.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Held, PostureLevel, Statement, Statements } from '../../protocol/posture/index.ts';

export interface KeptPosture {
  readonly statements: Statements;
  /** The node's own epoch when it was written: a later run begins above it, whatever the host's clock says. */
  readonly epoch: bigint;
}

export interface PostureStore {
  /** Resolves when it is durable. */
  save(posture: KeptPosture): Promise<void>;
}

export interface PosturePlace {
  /** It is there. */
  readonly folder: string;
  /** Of the kernel that runs now. */
  readonly bootId: string;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
}

/** A store of one file, and what it holds. */
export async function openPostureStore(place: PosturePlace, now: number): Promise<OpenedPosture> {
  const { bootId } = place;
  const store = new PostureFile(place);
  try {
    const record = await store.load();
    return record === undefined
      ? { store, kept: undefined, isSameBoot: false }
      : { store, kept: record.kept, isSameBoot: record.bootId === bootId };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { store, kept: unreadable(now), isSameBoot: false, problem };
  }
}

export interface OpenedPosture {
  readonly store: PostureStore;
  readonly kept: KeptPosture | undefined;
  /** Whether the kernel's own memory is what it was when it was written. */
  readonly isSameBoot: boolean;
  /** Why the record could not be read. */
  readonly problem?: string;
}

/** The source that speaks for a record which cannot be read. */
const LOST_RECORD = 'record';
const FILE = 'posture.json';
/** Sources are few and their reasons short. */
const MAX_BYTES = 65_536;

function unreadable(now: number): KeptPosture {
  const statement: Statement = {
    source: LOST_RECORD,
    level: 2,
    epoch: BigInt(now),
    reason: 'what was said before cannot be read',
  };
  return { statements: new Map([[LOST_RECORD, { statement }]]), epoch: BigInt(now) };
}

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

/** A checksum in hex, a line feed, and JSON: a bit that fell over must not turn a lockdown into something else. */
function text({ statements, epoch }: KeptPosture, { bootId, sha256 }: PosturePlace): string {
  const record = {
    version: 1,
    bootId,
    epoch: String(epoch),
    statements: [...statements.values()].map(({ statement, setAsideThrough }) => ({
      ...statement,
      epoch: String(statement.epoch),
      ...(setAsideThrough === undefined ? {} : { setAsideThrough: String(setAsideThrough) }),
    })),
  };
  const json = `${JSON.stringify(record, undefined, 2)}\n`;
  return `${checksum(json, sha256)}\n${json}`;
}

function checksum(json: string, sha256: PosturePlace['sha256']): string {
  return Buffer.from(sha256(Buffer.from(json))).toString('hex');
}

const epoch = z
  .string()
  .regex(/^\d{1,20}$/)
  .transform(BigInt);
const level = z.literal([1, 2, 3, 4, 5] as const satisfies readonly PostureLevel[]);

const recordSchema = z.strictObject({
  version: z.literal(1),
  bootId: z.string().max(64),
  epoch,
  statements: z
    .array(
      z.strictObject({
        source: z.string().min(1).max(64),
        level,
        epoch,
        expiresAt: z.number().optional(),
        reason: z.string().max(1_024).optional(),
        setAsideThrough: epoch.optional(),
      }),
    )
    .max(64),
});

function parse(
  bytes: Uint8Array,
  sha256: PosturePlace['sha256'],
): { readonly kept: KeptPosture; readonly bootId: string } {
  if (bytes.length > MAX_BYTES) throw new ShellstreamError('MALFORMED', `a record of ${bytes.length} bytes`);
  const [sum = '', ...rest] = new TextDecoder().decode(bytes).split('\n');
  const json = rest.join('\n');
  if (sum !== checksum(json, sha256)) throw new ShellstreamError('MALFORMED', 'the record of the posture is damaged');
  const parsed = recordSchema.safeParse(JSON.parse(json));
  if (!parsed.success) throw new ShellstreamError('MALFORMED', 'the record of the posture does not fit');
  const statements = parsed.data.statements.map(({ setAsideThrough, ...statement }): [string, Held] => [
    statement.source,
    { statement, ...(setAsideThrough === undefined ? {} : { setAsideThrough }) },
  ]);
  const { epoch, bootId } = parsed.data;
  return { kept: { statements: new Map(statements), epoch }, bootId };
}
