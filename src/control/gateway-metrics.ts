/** Every metric of the gateway: counted from its events and from what the roots tell, read from its status at a scrape. */
import type { Reason } from '../../protocol/reasons.ts';
import type { Registry } from './metrics.ts';
import type { GatewayEvent, GatewayStatus, GatewayView, Role, SessionView } from './ports.ts';

/** What no event tells; the roots call these. */
export interface GatewayMetrics extends Disposable {
  /** A handshake ended, with a grant or why not; `seconds` from the first record. */
  handshake(role: Role, outcome: 'granted' | Reason, seconds: number): void;
  /** A shell attestation token was checked; `cached`: an earlier validation was taken. */
  satCheck(how: 'cached' | 'fresh', outcome: 'valid' | Reason, seconds: number): void;
  /** A posture transition settled: all its steps have an outcome. */
  transition(to: number, outcome: 'done' | 'failed', seconds: number): void;
}

export function gatewayMetrics(registry: Registry, view: GatewayView): GatewayMetrics {
  const count = eventCounters(registry);
  const subscription = view.watch(count);
  const read = statusGauges(registry);
  registry.onScrape(async () => read(await view.status(), await view.sessions({})));

  const handshakes = registry.histogram(
    { name: 'shellstream_handshake_seconds', help: 'Handshakes by outcome.', labels: ['role', 'outcome'] },
    LATENCIES,
  );
  const satChecks = registry.histogram(
    { name: 'shellstream_sat_check_seconds', help: 'Checks of attestation tokens.', labels: ['how', 'outcome'] },
    LATENCIES,
  );
  const transitions = registry.histogram(
    { name: 'shellstream_posture_transition_seconds', help: 'Settled transitions.', labels: ['to', 'outcome'] },
    LATENCIES,
  );
  return {
    handshake: (role, outcome, seconds) => handshakes.observe(seconds, { role, outcome }),
    satCheck: (how, outcome, seconds) => satChecks.observe(seconds, { how, outcome }),
    transition: (to, outcome, seconds) => transitions.observe(seconds, { to: String(to), outcome }),
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  };
}

function eventCounters(registry: Registry): (event: GatewayEvent) => void {
  const opened = registry.counter({
    name: 'shellstream_sessions_opened_total',
    help: 'Sessions granted.',
    labels: ['role', 'type'],
  });
  const ended = registry.counter({
    name: 'shellstream_sessions_ended_total',
    help: 'Sessions ended, by reason.',
    labels: ['reason', 'by'],
  });
  const denied = registry.counter({
    name: 'shellstream_denials_reported_total',
    help: 'Dropped packets that the data plane reported; under flood it drops more than it reports.',
    labels: ['cause', 'direction'],
  });
  const postures = registry.counter({
    name: 'shellstream_posture_changes_total',
    help: 'Changes of the effective posture level.',
    labels: ['to', 'source'],
  });
  const drains = registry.counter({
    name: 'shellstream_drains_received_total',
    help: 'DRAIN frames from peers.',
    labels: ['reason'],
  });
  const holds = registry.counter({
    name: 'shellstream_holds_total',
    help: 'Peers that were held, for none is dialled or admitted then.',
    labels: ['cause'],
  });
  const releases = registry.counter({
    name: 'shellstream_releases_total',
    help: 'Holds that were lifted.',
    labels: ['by'],
  });
  return (event) => {
    switch (event.kind) {
      case 'session-opened':
        return opened.add(1, { role: event.session.role, type: event.session.type });
      case 'session-ended':
        return ended.add(1, { reason: event.reason, by: event.byPeer ? 'peer' : 'local' });
      case 'denied':
        return denied.add(1, { cause: event.denial.cause, direction: event.denial.direction });
      case 'posture-changed':
        return postures.add(1, { to: String(event.to), source: event.source });
      case 'drain-received':
        return drains.add(1, { reason: event.reason });
      case 'held':
        return holds.add(1, { cause: event.cause });
      case 'released':
        return releases.add(1, { by: event.by });
    }
  };
}

function statusGauges(registry: Registry): (status: GatewayStatus, sessions: readonly SessionView[]) => void {
  const gauge = (name: string, help: string) => registry.gauge({ name: `shellstream_${name}`, help });
  const build = registry.gauge({ name: 'shellstream_build_info', help: 'Always 1.', labels: ['version', 'driver'] });
  const started = gauge('start_time_seconds', 'When the gateway started, seconds since the epoch.');
  const level = gauge('posture_level', 'The effective posture level: 5 normal, 1 lockdown.');
  const since = gauge('posture_since_seconds', 'Since when, seconds since the epoch.');
  const sources = registry.gauge({
    name: 'shellstream_posture_source_level',
    help: 'What each source of posture says.',
    labels: ['source'],
  });
  const live = registry.gauge({
    name: 'shellstream_sessions',
    help: 'Live sessions.',
    labels: ['role', 'type', 'state'],
  });
  const pending = gauge('pending_handshakes', 'Handshakes under way.');
  const streams = gauge('streams', 'Open streams.');
  const peers = gauge('tunnel_peers', 'WireGuard peers in place.');
  const flows = gauge('flows', 'Flow entries in place.');
  const held = gauge('held_peers', 'Sites that are held.');
  const terminators = gauge('terminators', 'Terminators that listen.');
  const connected = gauge('workload_api_connected', '1 while the Workload API answers.');
  const svid = gauge('svid_expires_at_seconds', 'When our SVID expires, seconds since the epoch; 0 without one.');
  const refreshed = registry.gauge({
    name: 'shellstream_bundle_refreshed_at_seconds',
    help: 'When the trust bundle last came, seconds since the epoch.',
    labels: ['trust_domain'],
  });
  const stale = registry.gauge({
    name: 'shellstream_bundle_stale',
    help: '1 for a trust bundle that is too old.',
    labels: ['trust_domain'],
  });
  const lease = gauge('lease_remaining_seconds', 'Until all flows drop; negative: they do.');

  const evidence = registry.gauge({
    name: 'shellstream_evidence_state',
    help: 'Always 1: off, recording, full (nobody is admitted), failed (nobody is admitted).',
    labels: ['state'],
  });
  const entries = gauge('evidence_entries', 'Entries of the evidence log.');
  const first = gauge('evidence_first_entry', 'What is before was pruned.');
  const published = gauge('evidence_published_entries', 'Those that everybody can read.');
  const used = gauge('evidence_used_bytes', 'Of the spool.');
  const budget = gauge(
    'evidence_budget_bytes',
    'That the spool may have; the last of it (an eighth, 32 MiB at most) is not for sessions.',
  );
  const slowest = gauge('evidence_slowest_commit_seconds', 'Of the last minute; each handshake waits for one.');
  const retentionHeld = gauge(
    'evidence_retention_held',
    '1 while the clock is days ahead of the time that passed: less is forgotten.',
  );
  const quorum = gauge('evidence_quorum', 'Cosignatures of witnesses without which the log is not published.');
  const witnessed = registry.gauge({
    name: 'shellstream_evidence_witnessed_entries',
    help: 'Of the largest tree that a witness cosigned since the start; 0: none.',
    labels: ['witness'],
  });
  const missing = registry.gauge({
    name: 'shellstream_evidence_witness_missing',
    help: '1: the witness did not cosign what it was asked for last.',
    labels: ['witness'],
  });

  return (status, sessions) => {
    const { counts, identity, posture } = status;
    const { witnesses } = status.evidence;
    slowest.set(status.evidence.slowestCommitMs / 1_000, {});
    retentionHeld.set(status.evidence.retentionHeld === '' ? 0 : 1, {});
    quorum.set(status.evidence.quorum, {});
    witnessed.replace(witnesses.map(({ name, size }) => [size ?? 0, { witness: name }]));
    missing.replace(witnesses.map(({ name, problem }) => [problem === undefined ? 0 : 1, { witness: name }]));
    evidence.replace([[1, { state: status.evidence.state }]]);
    entries.set(status.evidence.entries, {});
    first.set(status.evidence.firstEntry, {});
    published.set(status.evidence.published, {});
    used.set(status.evidence.usedBytes, {});
    budget.set(status.evidence.budgetBytes, {});
    build.replace([[1, { version: status.version, driver: status.tunnel.driver }]]);
    started.set(status.startedAtMs / 1_000, {});
    level.set(posture.effective, {});
    since.set(posture.sinceMs / 1_000, {});
    sources.replace(posture.sources.map(({ source, level }) => [level, { source }]));
    live.replace(tally(sessions));
    pending.set(counts.pendingHandshakes, {});
    streams.set(counts.streams, {});
    peers.set(counts.tunnelPeers, {});
    flows.set(counts.flows, {});
    held.set(counts.heldPeers, {});
    terminators.set(counts.terminators, {});
    connected.set(identity.workloadApiConnected ? 1 : 0, {});
    svid.set((identity.svidExpiresAtMs ?? 0) / 1_000, {});
    refreshed.replace(
      identity.bundles.map(({ trustDomain, refreshedAtMs }) => [refreshedAtMs / 1_000, { trust_domain: trustDomain }]),
    );
    stale.replace(identity.bundles.map(({ trustDomain, stale }) => [stale ? 1 : 0, { trust_domain: trustDomain }]));
    lease.set((status.leaseRemainingMs ?? 0) / 1_000, {});
  };
}

type SessionLabels = Readonly<Record<'role' | 'type' | 'state', string>>;

function tally(sessions: readonly SessionView[]): Iterable<readonly [number, SessionLabels]> {
  const counts = new Map<string, [number, SessionLabels]>();
  for (const { role, type, state } of sessions) {
    const key = `${role} ${type} ${state}`;
    const entry = counts.get(key);
    if (entry === undefined) counts.set(key, [1, { role, type, state }]);
    else entry[0] += 1;
  }
  return counts.values();
}

/** Seconds: from a cached validation to a handshake that waits for SPIRE's server. */
const LATENCIES = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
