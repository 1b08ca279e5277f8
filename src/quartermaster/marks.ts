/**
 * What Quartermaster has acknowledged to this node. Only to notice that it forgot: where to go on is asked, never taken
 * from here, so a mark that is lost or old does no harm.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { Lane, type LogName } from '../../protocol/quartermaster/index.ts';
import { writeDurably } from '../evidence/files.ts';

export interface Marks {
  /** All below was acknowledged. */
  acknowledged(lane: LogName['lane']): number;
  raise(lane: LogName['lane'], next: number): void;
  /** It was said aloud; it is not said again. */
  lower(lane: LogName['lane'], next: number): void;
  /** Never throws: see above. */
  save(): Promise<void>;
}

/** Marks that last as long as the process. */
export function memoryMarks(): Marks {
  const marks = new Map<LogName['lane'], number>();
  return {
    acknowledged: (lane) => marks.get(lane) ?? 0,
    raise: (lane, next) => void marks.set(lane, Math.max(next, marks.get(lane) ?? 0)),
    lower: (lane, next) => void marks.set(lane, next),
    save: async () => undefined,
  };
}

/** @param onProblem of a file that cannot be read or written. */
export async function fileMarks(path: string, onProblem: (error: unknown) => void): Promise<Marks> {
  const marks = memoryMarks();
  try {
    const { log, leftOut } = SCHEMA.parse(JSON.parse(await readFile(path, 'utf8')));
    marks.raise(Lane.LOG, log);
    marks.raise(Lane.LEFT_OUT, leftOut);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) onProblem(error);
  }
  const text = () =>
    `${JSON.stringify({ log: marks.acknowledged(Lane.LOG), leftOut: marks.acknowledged(Lane.LEFT_OUT) })}\n`;
  let saved = text();
  return {
    ...marks,
    async save() {
      const now = text();
      if (now === saved) return;
      try {
        await writeDurably(path, Buffer.from(now), { mode: 0o600 });
        saved = now;
      } catch (error) {
        onProblem(error);
      }
    },
  };
}

const SCHEMA = z.strictObject({ log: z.int().min(0), leftOut: z.int().min(0) });
