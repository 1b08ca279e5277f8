import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { FACTS, ManualClock, session } from './fixtures.ts';
import { gatewayMetrics } from './gateway-metrics.ts';
import { MemoryGateway } from './memory-view.ts';
import { Registry } from './metrics.ts';

describe('the registry', () => {
  it('writes counters, gauges and histograms as Prometheus reads them', async () => {
    const registry = new Registry();
    registry.counter({ name: 'shellstream_a_total', help: 'A.', labels: ['x'] }).add(2, { x: 'one' });
    registry.gauge({ name: 'shellstream_b', help: 'B\nand \\ more.' }).set(-1.5, {});
    const histogram = registry.histogram({ name: 'shellstream_c_seconds', help: 'C.' }, [0.1, 1]);
    for (const value of [0.1, 0.5, 1, 7]) histogram.observe(value, {});

    expect(await registry.expose()).toBe(`# HELP shellstream_a_total A.
# TYPE shellstream_a_total counter
shellstream_a_total{x="one"} 2
# HELP shellstream_b B\\nand \\\\ more.
# TYPE shellstream_b gauge
shellstream_b -1.5
# HELP shellstream_c_seconds C.
# TYPE shellstream_c_seconds histogram
shellstream_c_seconds_bucket{le="0.1"} 1
shellstream_c_seconds_bucket{le="1"} 3
shellstream_c_seconds_bucket{le="+Inf"} 4
shellstream_c_seconds_sum 8.6
shellstream_c_seconds_count 4
`);
  });

  it('a label value cannot forge a line, a label or another metric', async () => {
    const registry = new Registry();
    const counter = registry.counter({ name: 'shellstream_a_total', help: 'A.', labels: ['peer'] });
    const hostile = 'x"} 1\nshellstream_posture_level 5\n# \\\ud800';
    counter.add(1, { peer: hostile });
    expect(parse(await registry.expose())).toEqual([
      { name: 'shellstream_a_total', labels: { peer: hostile.replace('\ud800', '\ufffd') }, value: 1 },
    ]);
  });

  it('a peer that invents names without end costs no more than the limit; nothing is lost from the sum', async () => {
    const registry = new Registry();
    const counter = registry.counter({ name: 'shellstream_a_total', help: 'A.', labels: ['peer'], mostSeries: 10 });
    for (let n = 0; n < 1_000; n++) counter.add(1, { peer: `spiffe://invented.test/${n}` });
    counter.add(1, { peer: 'x'.repeat(100_000) });
    const samples = parse(await registry.expose());
    expect(samples).toHaveLength(11);
    expect(samples.at(-1)).toEqual({ name: 'shellstream_a_total', labels: { peer: 'other' }, value: 991 });
  });

  it('a gauge that is replaced forgets what is gone', async () => {
    const registry = new Registry();
    const gauge = registry.gauge({ name: 'shellstream_a', help: 'A.', labels: ['x'] });
    gauge.set(1, { x: 'gone' });
    gauge.replace([[2, { x: 'new' }]]);
    expect(parse(await registry.expose())).toEqual([{ name: 'shellstream_a', labels: { x: 'new' }, value: 2 }]);
  });

  it.each([
    ['a name of another', (registry: Registry) => registry.gauge({ name: 'go_threads', help: '' })],
    ['a counter without _total', (registry: Registry) => registry.counter({ name: 'shellstream_a', help: '' })],
    ['a label le', (registry: Registry) => registry.gauge({ name: 'shellstream_a', help: '', labels: ['le'] })],
    [
      'bounds that do not ascend',
      (registry: Registry) => registry.histogram({ name: 'shellstream_a', help: '' }, [1, 1]),
    ],
    [
      'a counter that goes back',
      (registry: Registry) => registry.counter({ name: 'shellstream_a_total', help: '' }).add(-1, {}),
    ],
    [
      'one name twice',
      (registry: Registry) => {
        registry.gauge({ name: 'shellstream_a', help: '' });
        registry.gauge({ name: 'shellstream_a', help: '' });
      },
    ],
  ])('%s is a fault of the caller', (_, misuse) => {
    expect(() => misuse(new Registry())).toThrow(/INTERNAL/);
  });
});

describe('the gateway’s metrics', () => {
  it('say what the status says and count what the events told', async () => {
    const { view, registry, metrics } = gateway();
    view.open(session('s-1'));
    view.open(session('s-2', { type: 'operator', role: 'initiator' }));
    view.open(session('s-3', { type: 'operator', role: 'initiator' }));
    await view.end('s-3', '', { uid: 0, gid: 0, pid: 1 });
    view.state('map', 3, 'outside');
    metrics.handshake('responder', 'granted', 0.004);
    metrics.handshake('responder', 'SAT_EXPIRED', 0.2);
    metrics.satCheck('fresh', 'valid', 0.03);
    metrics.transition(3, 'done', 0.001);
    const samples = parse(await registry.expose());
    const value = (name: string, labels = {}) =>
      samples.find((sample) => sample.name === name && JSON.stringify(sample.labels) === JSON.stringify(labels))?.value;

    expect(value('shellstream_posture_level')).toBe(3);
    expect(value('shellstream_posture_source_level', { source: 'map' })).toBe(3);
    expect(value('shellstream_sessions', { role: 'responder', type: 'mesh', state: 'active' })).toBe(1);
    expect(value('shellstream_sessions', { role: 'initiator', type: 'operator', state: 'active' })).toBe(1);
    expect(value('shellstream_sessions_opened_total', { role: 'initiator', type: 'operator' })).toBe(2);
    expect(value('shellstream_sessions_ended_total', { reason: 'CLOSED', by: 'local' })).toBe(1);
    expect(value('shellstream_bundle_stale', { trust_domain: 'beta.test' })).toBe(1);
    expect(value('shellstream_svid_expires_at_seconds')).toBe(1_800_003_600);
    expect(value('shellstream_lease_remaining_seconds')).toBe(9);
    expect(value('shellstream_handshake_seconds_count', { role: 'responder', outcome: 'SAT_EXPIRED' })).toBe(1);
  });

  it('fail as a whole when the gateway does not answer: half a scrape would look like quiet', async () => {
    const { view, registry } = gateway();
    view.status = () => Promise.reject(new Error('stuck'));
    await expect(registry.expose()).rejects.toThrow('stuck');
  });

  it('please a strict reader, and promtool where it is installed', async () => {
    const { view, registry, metrics } = gateway();
    view.open(session('s-1'));
    view.state('map', 3, 'outside');
    metrics.handshake('initiator', 'granted', 0.1);
    metrics.satCheck('cached', 'valid', 0.1);
    metrics.transition(3, 'done', 0.1);
    const text = await registry.expose();
    expect(parse(text).length).toBeGreaterThan(50);
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    if (checked.error !== undefined) return;
    expect({ status: checked.status, said: checked.stdout + checked.stderr }).toEqual({ status: 0, said: '' });
  });
});

function gateway() {
  const view = new MemoryGateway(new ManualClock(), FACTS);
  const registry = new Registry();
  return { view, registry, metrics: gatewayMetrics(registry, view) };
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A strict reader of the text format: every line is a comment of ours or a whole sample of the family above it. */
function parse(text: string): Sample[] {
  expect(text.endsWith('\n')).toBe(true);
  let family = '';
  const samples: Sample[] = [];
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (comment !== null) {
      family = comment[2] ?? '';
      continue;
    }
    const sample = /^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\[\\n"])*",?)+)\})? (-?[0-9.e+-]+|\+Inf)$/.exec(line);
    if (sample === null) throw new Error(`no sample: ${line}`);
    const [, name = '', inside = '', value] = sample;
    expect(name.startsWith(family)).toBe(true);
    const labels = [...inside.matchAll(/([a-z_]+)="((?:[^"\\]|\\[\\n"])*)"/g)].map(([, label, escaped = '']) => [
      label,
      escaped.replace(/\\(.)/g, (_, letter) => (letter === 'n' ? '\n' : letter)),
    ]);
    samples.push({ name, labels: Object.fromEntries(labels), value: Number(value) });
  }
  return samples;
}
