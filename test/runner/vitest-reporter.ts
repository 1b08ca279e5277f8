import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { SerializedError, TestError } from 'vitest';
import type { Reporter, TestCase, TestModule } from 'vitest/node';
import { REPOSITORY } from './child.ts';
import type { Outcome, Tally } from './tally.ts';

/** Names the file that the tally is written to, as JSON. */
export const TALLY_FILE = 'SHELLSTREAM_TALLY';

/**
 * Vitest's own JSON report leaves out why a test was skipped, and the errors outside of any test that make a run fail; so
 * the tally is taken here.
 */
export default class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const file = process.env[TALLY_FILE];
    if (file !== undefined) writeFileSync(file, JSON.stringify(tallyOf(modules, unhandled)));
  }
}

function tallyOf(modules: readonly TestModule[], unhandled: readonly SerializedError[]): Tally {
  let passed = 0;
  const failed: Outcome[] = unhandled.map((error) => ({ name: 'an error outside of any test', why: reasonOf(error) }));
  const skipped: Outcome[] = [];
  for (const module of modules) {
    const file = module.relativeModuleId;
    // Of files and suites, errors of their own: a file that does not load, a hook that throws.
    for (const group of [module, ...module.children.allSuites()]) {
      for (const error of group.errors()) {
        failed.push({ name: group.type === 'suite' ? `${file} > ${group.fullName}` : file, why: reasonOf(error) });
      }
    }
    for (const test of module.children.allTests()) {
      const name = `${file} > ${test.fullName}`;
      const result = test.result();
      switch (result.state) {
        case 'passed':
          passed += 1;
          break;
        case 'failed':
          failed.push({ name, why: result.errors.map(reasonOf).join('; ') });
          break;
        case 'skipped':
          skipped.push({
            name,
            why: result.note ?? (isCutOff(test) ? 'a hook of its suite failed' : 'no reason given'),
          });
          break;
        case 'pending':
          failed.push({ name, why: 'did not end' });
          break;
      }
    }
  }
  return { passed, failed, skipped };
}

function isCutOff(test: TestCase): boolean {
  let group = test.parent;
  while (group.type === 'suite') {
    if (group.errors().length > 0) return true;
    group = group.parent;
  }
  return group.errors().length > 0;
}

/** The message's first line, and where in the tests it was thrown. */
function reasonOf({ message, stacks = [] }: Pick<TestError, 'message' | 'stacks'>): string {
  const line = message.split('\n')[0] ?? '';
  const at = stacks.find(({ file }) => file.includes('/test/')) ?? stacks[0];
  return at === undefined ? line : `${line} (${relative(REPOSITORY, at.file)}:${at.line})`;
}
