import { describe, expect, test } from 'vitest';
import { holds, type Target } from '../target.ts';
import type { Reading } from './coverage.ts';
import { minimiseCorpus, minimiseFinding } from './minimise.ts';
import { type Finding, type Found, search } from './search.ts';

/** What only who follows the coverage finds: each byte of the word opens the way to the next. */
const WORD = Buffer.from('bug!');

describe('the search', () => {
  test('follows new code byte by byte to a bug that chance would not find', async () => {
    const { findings } = await searched(planted(), 60_000);
    expect(findings.map(({ error }) => String(error))).toEqual(['Error: the planted bug']);
  });

  test('does not find it when the coverage tells nothing: so it is the coverage that leads there', async () => {
    const { findings } = await searched(planted(), 60_000, { isBlind: true });
    expect(findings).toEqual([]);
  });

  test('gives the same inputs for the same seed, and others for another', async () => {
    const [one, same, other] = await Promise.all([7, 7, 8].map((seed) => searched(planted(), 5_000, { seed })));
    expect(same?.found.corpus).toEqual(one?.found.corpus);
    expect(other?.found.corpus).not.toEqual(one?.found.corpus);
  });

  test('tells an input that costs more steps than its length allows', async () => {
    const { findings } = await searched(planted({ costly: 'u' }), 60_000);
    expect(findings.map(({ error }) => String(error))).toContain('Error: took 1000000 steps');
  });

  test('tells a prototype that was changed, and an input that was written into', async () => {
    const pollute = (): string => {
      Reflect.defineProperty(Map.prototype, 'polluted', { value: 1, configurable: true });
      return 'polluted';
    };
    const overwrite = (input: Uint8Array): string => String(input.fill(1).length);
    try {
      const { findings } = await searched({ ...planted().target, run: pollute }, 1);
      expect(String(findings[0]?.error)).toMatch(/prototype/);
    } finally {
      Reflect.deleteProperty(Map.prototype, 'polluted');
    }
    const { findings } = await searched({ ...planted().target, run: overwrite }, 1);
    expect(String(findings[0]?.error)).toMatch(/written into/);
  });
});

test('a finding shrinks to what breaks, and a corpus to what reaches', async () => {
  const { target, probe } = planted();
  const long = Buffer.concat([WORD, Buffer.alloc(100, 'x')]);
  await expect(minimiseFinding(target, long, new Error('the planted bug'))).resolves.toHaveLength(long.length);
  const error = await Promise.resolve()
    .then(() => target.run(long))
    .catch((thrown: unknown) => thrown);
  expect(Buffer.from(await minimiseFinding(target, long, error)).toString()).toBe('bug!');
  const corpus = await minimiseCorpus(
    target,
    probe,
    ['bxx', 'b', 'bu', 'buuu', 'zzz'].map((text) => Buffer.from(text)),
  );
  expect(corpus.map((input) => Buffer.from(input).toString())).toEqual(['b', 'bu']);
});

interface Options {
  readonly seed?: number;
  readonly isBlind?: boolean;
}

async function searched(
  given: Target | ReturnType<typeof planted>,
  runs: number,
  { seed = 1, isBlind = false }: Options = {},
): Promise<{ readonly found: Found; readonly findings: readonly Finding[] }> {
  const { target, probe } = 'probe' in given ? given : { target: given, probe: planted().probe };
  const findings: Finding[] = [];
  const found = await search({
    target,
    probe: isBlind ? { read: () => ({ steps: 0, ran: new Map() }) } : probe,
    watchdog: { expect: () => {} },
    seed,
    corpus: [],
    isOver: (executions) => executions >= runs || findings.length > 0,
    onFinding: (finding) => findings.push(finding),
  });
  return { found, findings };
}

/** A target that keeps its own coverage. `costly`: the byte whose presence costs a million steps. */
function planted({ costly = '' } = {}) {
  let ran = new Uint8Array(WORD.length + 1);
  let steps = 0;
  const target: Target = {
    about: 'a planted bug',
    covers: [],
    maxBytes: 64,
    dictionary: [],
    seeds: [Buffer.from('....')],
    run(input) {
      const same = WORD.findIndex((byte, at) => input[at] !== byte);
      const reached = same < 0 ? WORD.length : same;
      ran.fill(1, 0, reached + 1);
      if (costly !== '' && input[1] === costly.charCodeAt(0)) steps += 1_000_000;
      holds(reached < WORD.length, 'the planted bug');
      return 'ended';
    },
  };
  const probe = {
    read(): Reading {
      const reading = { steps, ran: new Map([['src/planted.ts', ran]]) };
      ran = new Uint8Array(WORD.length + 1);
      steps = 0;
      return reading;
    },
  };
  return { target, probe };
}
