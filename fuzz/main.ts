/**
 * The fuzzer: feeds changed inputs to everything that reads a stranger's bytes, and checks what must hold for each.
 *
 *     npm run fuzz -- --list
 *     npm run fuzz -- --replay [TARGET...]            the committed corpus and all past crashes, as CI does
 *     npm run fuzz -- TARGET --seconds N [--seed S]   search; what it finds is kept in fuzz/corpus and fuzz/crashes
 *
 * A target (`targets/`) names its seeds and the claims; `engine/` searches, guided by V8's block coverage; `formats/` knows
 * how inputs are built. A crash is kept under a name that says what was wrong, when it is mended.
 */
import { parseArgs } from 'node:util';
import { CoverageProbe } from './engine/coverage.ts';
import { minimiseCorpus, minimiseFinding } from './engine/minimise.ts';
import { replay } from './engine/replay.ts';
import { search } from './engine/search.ts';
import { load, replaceCorpus, save } from './engine/store.ts';
import { Watchdog } from './engine/watchdog.ts';
import { type OpenTarget, Unavailable } from './target.ts';
import { TARGETS } from './targets/index.ts';

const ROOT = new URL('../', import.meta.url).pathname;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      list: { type: 'boolean' },
      replay: { type: 'boolean' },
      seconds: { type: 'string', default: '60' },
      runs: { type: 'string', default: 'Infinity' },
      seed: { type: 'string' },
    },
  });
  const names = positionals.length > 0 ? positionals : [...TARGETS.keys()];
  const unknown = names.filter((name) => !TARGETS.has(name));
  const [only, ...more] = positionals;
  const isUsage = unknown.length > 0 || (!values.list && !values.replay && (only === undefined || more.length > 0));
  if (isUsage) {
    console.error(
      `fuzz --list | --replay [TARGET...] | TARGET --seconds N [--seed S] [--runs N]; targets: ${[...TARGETS.keys()].join(', ')}`,
    );
    return 2;
  }
  if (values.list) {
    for (const name of names) console.log(name);
    return 0;
  }
  using probe = new CoverageProbe(ROOT);
  if (values.replay) return await replayAll(names, probe);
  const seed = Number(values.seed ?? Date.now() % 2 ** 31);
  return await searchOne(only ?? '', probe, { seconds: Number(values.seconds), runs: Number(values.runs), seed });
}

/** The last line is read by `npm test`. */
async function replayAll(names: readonly string[], probe: CoverageProbe): Promise<number> {
  let [passed, failed, skipped] = [0, 0, 0];
  for (const name of names) {
    const began = performance.now();
    const result = await replay(name, await openerOf(name), probe);
    for (const { name: input, error } of result.failures) console.log(`✗ ${input}\n${describe(error)}`);
    if (result.skipped !== undefined) console.log(`- ${name}: ${result.skipped}`);
    const ms = Math.round(performance.now() - began);
    if (result.skipped === undefined) console.log(`  ${name}: ${result.inputs} inputs in ${ms} ms`);
    passed += result.inputs - result.failures.length;
    failed += result.failures.length;
    skipped += result.skipped === undefined ? 0 : 1;
  }
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

interface Limits {
  readonly seconds: number;
  readonly runs: number;
  readonly seed: number;
}

async function searchOne(name: string, probe: CoverageProbe, { seconds, runs, seed }: Limits): Promise<number> {
  const open = await openerOf(name);
  const extents = probe.extents();
  const target = await open();
  await using watchdog = new Watchdog(name, target.maxBytes);
  console.log(`${name}: ${target.about}; seed ${seed}`);
  const findings: { readonly input: Uint8Array; readonly error: unknown }[] = [];
  const began = performance.now();
  const found = await search({
    target,
    probe,
    watchdog,
    seed,
    corpus: [...load('corpus', name), ...load('crashes', name)].map(({ bytes }) => bytes),
    isOver: (executions) => executions >= runs || performance.now() - began >= seconds * 1000,
    onFinding: (finding) => {
      findings.push(finding);
      console.log(`✗ finding ${findings.length}:\n${describe(finding.error)}`);
    },
  });
  const took = (performance.now() - began) / 1000;
  for (const { input, error } of findings) {
    const smaller = await minimiseFinding(target, input, error);
    console.log(`  kept as ${save('crashes', name, smaller)} (${smaller.length} bytes)`);
  }
  const corpus = await minimiseCorpus(target, probe, [...target.seeds, ...found.corpus]);
  replaceCorpus(name, corpus);
  const files = [...extents.keys()].filter((file) =>
    target.covers.some((one) => file === one || (one.endsWith('/') && file.startsWith(one))),
  );
  const share = found.covered.countIn(files) / files.reduce((sum, file) => sum + (extents.get(file) ?? 0), 0);
  const bytes = corpus.reduce((sum, input) => sum + input.length, 0);
  console.log(
    `${name}: ${found.executions} executions, ${Math.round(found.executions / took)}/s; ` +
      `${(share * 100).toFixed(1)} % of ${files.length} files; ${found.words} endings; ` +
      `corpus ${corpus.length} inputs, ${bytes} bytes; ${findings.length} findings`,
  );
  await target.dispose?.();
  return findings.length === 0 ? 0 : 1;
}

async function openerOf(name: string): Promise<OpenTarget> {
  const load = TARGETS.get(name);
  if (load === undefined) throw new Error(`no target ${name}`);
  return (await load()).open;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return `    ${String(error)}`;
  const cause = error.cause === undefined ? '' : `\n  caused by\n${describe(error.cause)}`;
  return `${(error.stack ?? error.message)
    .split('\n')
    .slice(0, 8)
    .map((line) => `    ${line.slice(0, 300)}`)
    .join('\n')}${cause}`;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Unavailable)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
