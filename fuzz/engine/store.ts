/** Inputs on disk: `corpus/TARGET/HASH` reaches code, `crashes/TARGET/name-of-the-bug` once broke it. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../', import.meta.url));

export interface Kept {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export type Kind = 'corpus' | 'crashes';

export function load(kind: Kind, target: string): readonly Kept[] {
  const folder = `${FOLDER}${kind}/${target}`;
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => ({ name, bytes: Uint8Array.from(readFileSync(`${folder}/${name}`)) }));
}

/** The file that holds it. */
export function save(kind: Kind, target: string, bytes: Uint8Array, name = nameOf(bytes)): string {
  const folder = `${FOLDER}${kind}/${target}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/${name}`, bytes);
  return `fuzz/${kind}/${target}/${name}`;
}

/** The corpus of the target is these inputs and no others. */
export function replaceCorpus(target: string, inputs: readonly Uint8Array[]): void {
  rmSync(`${FOLDER}corpus/${target}`, { recursive: true, force: true });
  for (const bytes of inputs) save('corpus', target, bytes);
}

function nameOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 12);
}
