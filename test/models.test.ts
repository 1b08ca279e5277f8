import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { HANDSHAKE } from './models/handshake.ts';
import { LIFECYCLE } from './models/lifecycle.ts';
import { change } from './models/mutant.ts';
import { POSTURE } from './models/posture.ts';
import { readSearch } from './models/spin.ts';
import { readAnalysis } from './models/verifpal.ts';

const source = (path: string): Promise<string> => readFile(new URL(`models/${path}`, import.meta.url), 'utf8');

// The models themselves run in .ci/run: `node test/models/run.ts`.
describe('every mutant is one: each of its changes finds its place', () => {
  it.each(HANDSHAKE)('$model, $what', async ({ model, changes, attacked, asked }) => {
    const text = await source(`handshake/${model}.vp`);
    expect(change(text, changes) !== text).toBe(changes.length > 0);
    for (const query of [...attacked, ...(asked ?? [])]) expect(text).toContain(`\t${query}\n`);
  });

  it.each([
    ...LIFECYCLE.map((one) => ({ ...one, model: 'lifecycle' })),
    ...POSTURE.map((one) => ({ ...one, model: 'posture' })),
  ])('$model, $what', async ({ model, changes }) => {
    const text = await source(`${model}/${model}.pml`);
    expect(change(text, changes) !== text).toBe(changes.length > 0);
  });

  it('a change without a place is an error, not a model that proves nothing', () => {
    expect(() => change('a ‖ b', [{ from: 'c', to: '' }])).toThrow('does not say');
  });

  it('every model is asked as it is, and fails somewhere', () => {
    for (const model of new Set(HANDSHAKE.map((one) => one.model))) {
      const of = HANDSHAKE.filter((one) => one.model === model);
      expect(of.filter(({ changes }) => changes.length === 0)).toHaveLength(1);
      expect(of.some(({ attacked }) => attacked.length > 0)).toBe(true);
    }
  });
});

describe('what the tools say', () => {
  const query = (resolved: boolean, exhausted: boolean) => ({ query: 'q', resolved, envelope: { exhausted } });
  const report = (...queries: object[]): string => JSON.stringify({ models: [{ analysis: { queries } }] });

  it('Verifpal: attacked is what is resolved', () => {
    expect(readAnalysis(report(query(true, false)), 'code 0')).toEqual({ queries: ['q'], attacked: ['q'] });
    expect(readAnalysis(report(query(false, true)), 'code 0').attacked).toEqual([]);
  });

  it.each([
    ['a search that ended early', report(query(false, false))],
    ['a model without queries', report()],
    ['a model that is none', JSON.stringify({ models: [{ error: 'sanity error' }] })],
    ['no output', ''],
  ])('Verifpal: %s proves nothing', (_name, output) => {
    expect(() => readAnalysis(output, 'code 1')).toThrow();
  });

  const SEARCHED = 'State-vector 92 byte, depth reached 131, errors: 0\n  1961844 states, stored\n';

  it('Spin: no error in all states, or the assertion', () => {
    expect(readSearch(SEARCHED, 'code 0')).toEqual({ holds: true, states: 1_961_844, why: '' });
    const violated = `pan:1: assertion violated 0 (at depth 82)\n${SEARCHED.replace('errors: 0', 'errors: 1')}`;
    expect(readSearch(violated, 'code 0')).toMatchObject({ holds: false, why: 'assertion violated 0' });
  });

  it.each([
    ['out of memory', `pan: reached -DMEMLIM bound\n${SEARCHED}`],
    ['a depth that did not suffice', `error: max search depth too small\n${SEARCHED}`],
    ['another error', `pan:1: invalid end state (at depth 9)\n${SEARCHED.replace('errors: 0', 'errors: 1')}`],
    ['no output', ''],
  ])('Spin: %s proves nothing', (_name, output) => {
    expect(() => readSearch(output, 'code 1')).toThrow();
  });
});
