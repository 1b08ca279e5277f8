import type { Config } from '../base/config.ts';
import { gatewayMetrics } from '../control/gateway-metrics.ts';
import { startHttp } from '../control/http.ts';
import { Registry } from '../control/metrics.ts';
import type { GatewayView } from '../control/ports.ts';
import type { ForwarderStatus } from '../quartermaster/index.ts';
import type { EnforcerNode } from './enforcer.ts';
import { quartermasterMetrics } from './quartermaster-metrics.ts';

/** Metrics, health and readiness on a loopback address. */
export async function serveMetrics(
  address: NonNullable<Config['metrics']['address']>,
  node: EnforcerNode,
  view: GatewayView,
  quartermaster?: { readonly status: ForwarderStatus },
): Promise<AsyncDisposable> {
  await using parts = new AsyncDisposableStack();
  const registry = new Registry();
  const metrics = parts.use(gatewayMetrics(registry, view));
  const turnedAway = registry.counter({
    name: 'shellstream_connections_refused_total',
    help: 'Connections turned away before any cryptography.',
    labels: ['reason'],
  });
  parts.use(
    node.terminators.onEvent((event) => {
      if (event.kind === 'handshake') metrics.handshake(event.role, event.outcome, event.seconds);
      if (event.kind === 'turned-away') turnedAway.add(event.count, { reason: event.reason });
    }),
  );
  parts.use(
    node.posture.onChange(({ to, seconds, failed }) => metrics.transition(to, failed ? 'failed' : 'done', seconds)),
  );
  parts.use(
    node.tokenChecks.add(({ fresh, outcome, seconds }) =>
      metrics.satCheck(fresh ? 'fresh' : 'cached', outcome, seconds),
    ),
  );
  if (quartermaster !== undefined) quartermasterMetrics(registry, () => quartermaster.status);
  parts.use(await startHttp({ ...address, registry, view }));
  return parts.move();
}
