import { nodeModule, tool } from './child.ts';
import type { Outcome, Suite, Tally } from './tally.ts';

/** Each counts as one test: type check, formatting and lint, dead code and undeclared dependencies, the wire schema. */
const CHECKS = [
  { name: 'tsc', script: 'typescript/bin/tsc', args: ['--noEmit', '--pretty', 'false'] },
  {
    name: 'biome',
    script: '@biomejs/biome/bin/biome',
    args: ['check', '--error-on-warnings', '--max-diagnostics=20', '.'],
  },
  { name: 'oxlint', script: 'oxlint/bin/oxlint', args: ['--deny-warnings'] },
  { name: 'knip', script: 'knip/bin/knip.js', args: ['--no-progress'] },
  {
    name: 'buf lint',
    script: '@bufbuild/buf/bin/buf',
    args: ['lint', 'protocol/schema', '--path', 'protocol/schema/shellstream'],
  },
] as const;

export const staticChecks: Suite = {
  name: 'static',
  about: CHECKS.map((check) => check.name).join(', '),
  run: async (): Promise<Tally> => {
    let passed = 0;
    const failed: Outcome[] = [];
    for (const { name, script, args } of CHECKS) {
      const began = performance.now();
      const ended = await tool(process.execPath, [nodeModule(script), ...args], { shown: false });
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      if (ended.code === 0) {
        passed += 1;
        console.log(`  ✓ ${name} (${seconds} s)`);
      } else {
        console.log(`  ✗ ${name} (${seconds} s): ${ended.how}\n${ended.output.trim()}`);
        failed.push({ name, why: `${ended.how}: ${firstLine(ended.output)}` });
      }
    }
    return { passed, failed, skipped: [] };
  },
};

const firstLine = (output: string): string => output.trim().split('\n')[0] ?? '';
