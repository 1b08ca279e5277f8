/**
 * The models of the handshake, of a session's life and of the posture, each as it is and with parts removed: what must hold holds, what must
 * fail fails. README.md says what each means. `--only TEXT` runs those whose line has it. Last line `N passed, N failed`.
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { HANDSHAKE, type HandshakeCase } from './handshake.ts';
import { LIFECYCLE, type LifecycleCase } from './lifecycle.ts';
import { change } from './mutant.ts';
import { POSTURE } from './posture.ts';
import { search } from './spin.ts';
import { spin, verifpal } from './tools.ts';
import { analyse } from './verifpal.ts';

interface Check {
  readonly name: string;
  /** Resolves with what is worth a word; throws when it is not as it must be. */
  run(): Promise<string>;
}

async function main(): Promise<number> {
  const { only = '' } = parseArgs({ options: { only: { type: 'string' } } }).values;
  const all = [
    ...HANDSHAKE.map(handshake),
    ...LIFECYCLE.map((one) => searched('lifecycle', one)),
    ...POSTURE.map((one) => searched('posture', one)),
  ];
  const checks = all.filter(({ name }) => name.includes(only));
  let failed = 0;
  for (const { name, run } of checks) {
    const began = performance.now();
    const [mark, detail] = await run().then(
      (said) => ['✓', said] as const,
      (error: unknown) => ['✗', error instanceof Error ? error.message : String(error)] as const,
    );
    if (mark === '✗') failed += 1;
    console.log(`  ${mark} ${name} (${((performance.now() - began) / 1000).toFixed(1)} s): ${detail}`);
  }
  console.log(`\n${checks.length - failed} passed, ${failed} failed`);
  return failed === 0 && checks.length > 0 ? 0 : 1;
}

function handshake({ model, what, changes, sessions, attacked, asked }: HandshakeCase): Check {
  return {
    name: `verifpal ${model}${what === '' ? '' : `, ${what}`}`,
    async run() {
      const text = asking(change(await source(`handshake/${model}.vp`), changes), asked);
      const found = await analyse(await verifpal(), text, sessions);
      const unknown = attacked.filter((query) => !found.queries.includes(query));
      if (unknown.length > 0) throw new Error(`the model does not ask: ${unknown.join('; ')}`);
      const missed = attacked.filter((query) => !found.attacked.includes(query));
      const unexpected = found.attacked.filter((query) => !attacked.includes(query));
      if (unexpected.length > 0) throw new Error(`attacks on ${unexpected.join('; ')}`);
      if (missed.length > 0) throw new Error(`no attack on ${missed.join('; ')}`);
      return attacked.length === 0 ? `${found.queries.length} hold` : `attacked: ${attacked.join('; ')}`;
    },
  };
}

/** The search ends when every query is decided: a mutant is asked for what it must lose. */
function asking(model: string, asked: readonly string[] | undefined): string {
  if (asked === undefined) return model;
  const at = model.indexOf('queries[');
  return `${model.slice(0, at)}queries[\n${asked.map((query) => `\t${query}\n`).join('')}]\n`;
}

function searched(model: 'lifecycle' | 'posture', { what, scene, changes, holds }: LifecycleCase): Check {
  return {
    name: `spin ${model}, ${what}`,
    async run() {
      await spin();
      const found = await search(change(await source(`${model}/${model}.pml`), changes), scene);
      if (found.holds !== holds) throw new Error(holds ? found.why : 'no violation in any interleaving');
      return holds ? `${found.states} states` : found.why;
    },
  };
}

function source(path: string): Promise<string> {
  return readFile(new URL(path, import.meta.url), 'utf8');
}

process.exitCode = await main();
