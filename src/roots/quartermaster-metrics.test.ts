import { expect, test } from 'vitest';
import { Registry } from '../control/metrics.ts';
import type { ForwarderStatus } from '../quartermaster/index.ts';
import { quartermasterMetrics } from './quartermaster-metrics.ts';

test('says how far Quartermaster is, and that it refuses', async () => {
  const registry = new Registry();
  let status: ForwarderStatus = {
    state: 'waiting',
    acknowledged: 7,
    behind: 0,
    forgotten: 0,
    problem: undefined,
    awaySinceMs: undefined,
  };
  quartermasterMetrics(registry, () => status);
  expect(await registry.expose()).toContain('shellstream_quartermaster_acknowledged_entries 7\n');
  status = { state: 'connecting', acknowledged: 7, behind: 5, forgotten: 1, problem: 'EVIDENCE_FORK', awaySinceMs: 1 };
  const text = await registry.expose();
  expect(text).toContain('shellstream_quartermaster_state{state="connecting"} 1\n');
  expect(text).not.toContain('waiting"}');
  expect(text).toContain('shellstream_quartermaster_behind_entries 5\n');
  expect(text).toContain('shellstream_quartermaster_forgotten 1\n');
  expect(text).toContain('shellstream_quartermaster_failing 1\n');
});
