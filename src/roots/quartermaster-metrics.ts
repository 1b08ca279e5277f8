/** How far Quartermaster is with this node's evidence, as metrics. */
import type { Registry } from '../control/metrics.ts';
import type { ForwarderStatus } from '../quartermaster/index.ts';

const STATES: readonly ForwarderStatus['state'][] = ['connecting', 'forwarding', 'waiting'];

export function quartermasterMetrics(registry: Registry, read: () => ForwarderStatus): void {
  const gauge = (name: string, help: string) => registry.gauge({ name: `shellstream_quartermaster_${name}`, help });
  const state = registry.gauge({
    name: 'shellstream_quartermaster_state',
    help: 'Always 1: connecting, forwarding, waiting (for what is to be forwarded).',
    labels: ['state'],
  });
  const acknowledged = gauge('acknowledged_entries', 'All entries of the log before are acknowledged.');
  const behind = gauge('behind_entries', 'Entries that are not acknowledged yet.');
  const forgotten = gauge('forgotten', 'How often it held less than it had acknowledged.');
  const failing = gauge('failing', '1 while evidence is refused or nobody answers; the log says why.');
  registry.onScrape(async () => {
    const status = read();
    state.replace(STATES.filter((name) => name === status.state).map((name) => [1, { state: name }]));
    acknowledged.set(status.acknowledged, {});
    behind.set(status.behind, {});
    forgotten.set(status.forgotten, {});
    failing.set(status.problem === undefined ? 0 : 1, {});
  });
}
