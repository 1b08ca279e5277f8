/** The demo is the story of the product; it must stay true, and its output is a contract with outside checks. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { attempt } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';

const DEMO = fileURLToPath(new URL('../demo/main.ts', import.meta.url));

interface Line {
  readonly step?: string;
  readonly ok?: boolean;
  readonly ms?: number;
  readonly detail?: string;
  readonly demo?: string;
  readonly passed?: number;
  readonly failed?: number;
}

function linesOf(stdout: string): readonly Line[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

describeWith(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun', 'wg', 'tcpdump'], 'the demo', () => {
  test('sees every step, within ninety seconds, and says so in one object a line', { timeout: 120_000 }, async () => {
    const { code, stdout } = await attempt(process.execPath, [DEMO, '--json'], { timeoutMs: 90_000 });
    const lines = linesOf(stdout);
    const steps = lines.slice(0, -1);
    expect(steps.filter(({ ok }) => ok !== true)).toEqual([]);
    expect(steps.length).toBeGreaterThanOrEqual(16);
    for (const step of steps) expect(Object.keys(step)).toEqual(['step', 'ok', 'ms', 'detail']);
    expect(lines.at(-1)).toEqual({ demo: 'ok', passed: steps.length, failed: 0 });
    expect(code).toBe(0);
  });

  test('without root says what it lacks, and fails', async () => {
    const asNobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, DEMO, '--json'];
    const { code, stdout } = await attempt('setpriv', asNobody);
    const [why, last] = linesOf(stdout);
    expect(why).toMatchObject({ ok: false, detail: expect.stringContaining('needs root') });
    expect(last).toEqual({ demo: 'failed', passed: 0, failed: 1 });
    expect(code).toBe(1);
  });
});
