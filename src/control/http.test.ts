import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FACTS, ManualClock } from './fixtures.ts';
import { gatewayMetrics } from './gateway-metrics.ts';
import { healthOf } from './health.ts';
import { startHttp } from './http.ts';
import { MemoryGateway } from './memory-view.ts';
import { Registry } from './metrics.ts';

let view: MemoryGateway;
let world: AsyncDisposableStack;
let port: number;

beforeEach(async () => {
  world = new AsyncDisposableStack();
  view = new MemoryGateway(new ManualClock(), FACTS);
  const registry = new Registry();
  world.use(gatewayMetrics(registry, view));
  port = world.use(await startHttp({ host: '127.0.0.1', port: 0, registry, view })).port;
});

afterEach(() => world.disposeAsync());

describe('over HTTP', () => {
  it('the metrics come in Prometheus’ own content type', async () => {
    const answer = await get('/metrics');
    expect(answer).toMatchObject({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' });
    expect(answer.text).toContain('\nshellstream_posture_level 5\n');
  });

  it('a healthy gateway is ready, and a stale bundle is said all the same', async () => {
    expect(await get('/healthz')).toMatchObject({ status: 200 });
    expect(await get('/readyz')).toMatchObject({
      status: 200,
      text: 'ok\nthe trust bundle of beta.test is stale: 10000 s old\n',
    });
  });

  it('a locked-down gateway is not ready, and nobody may restart it for that', async () => {
    view.state('console', 1, 'incident');
    expect(await get('/readyz')).toMatchObject({ status: 503 });
    expect((await get('/readyz')).text).toContain('posture level 1, held by console');
    expect(await get('/healthz')).toMatchObject({ status: 200 });
  });

  it('a gateway that cannot answer is a 500, not silence', async () => {
    view.status = () => Promise.reject(new Error('stuck in /secret/path'));
    for (const path of ['/metrics', '/healthz', '/readyz']) {
      expect(await get(path)).toMatchObject({ status: 500, text: 'the gateway does not answer\n' });
    }
  });

  it.each([
    ['a web page that rebinds its name to loopback', '/metrics', 'GET', 'evil.example', 421],
    ['a name that only begins like loopback', '/metrics', 'GET', '127.0.0.1.evil.example', 421],
    ['a write', '/metrics', 'POST', 'localhost', 405],
    ['another path', '/../etc/passwd', 'GET', 'localhost', 404],
    ['IPv6 loopback by name', '/healthz', 'GET', '[::1]:80', 200],
  ])('%s', async (_, path, method, host, status) => {
    expect(await get(path, method, host)).toMatchObject({ status });
  });

  it('a request without end is cut off', async () => {
    const raw = connect(port, '127.0.0.1');
    raw.on('error', () => {});
    raw.write(`GET /metrics HTTP/1.1\r\nHost: localhost\r\nx: ${'y'.repeat(20_000)}`);
    expect(await text(raw)).toMatch(/^HTTP\/1.1 431 /);
  });

  it.each(['0.0.0.0', '::', '192.0.2.1', 'localhost', '128.0.0.1', ''])('it is never served on %j', async (host) => {
    await expect(startHttp({ host, port: 0, registry: new Registry(), view })).rejects.toThrow(/loopback/);
  });

  it('a port that is taken is refused', async () => {
    await expect(startHttp({ host: '127.0.0.1', port, registry: new Registry(), view })).rejects.toThrow(
      /cannot listen/,
    );
  });
});

describe('health', () => {
  it.each([
    ['a lease that lapsed', { leaseRemainingMs: -2_000 }, false, false, 'lapsed 2 s ago'],
    ['no lease yet', { leaseRemainingMs: undefined }, true, false, 'no lease yet'],
    ['no tunnel driver', { tunnel: { ...FACTS.tunnel, driver: 'none' as const } }, true, false, 'no tunnel driver'],
    ['no SVID', { identity: { ...FACTS.identity, svidExpiresAtMs: undefined } }, true, false, 'no SVID'],
    [
      'an expired SVID',
      { identity: { ...FACTS.identity, svidExpiresAtMs: 1_799_999_999_000 } },
      true,
      false,
      'expired 1 s',
    ],
    [
      'an SVID at its end',
      { identity: { ...FACTS.identity, svidExpiresAtMs: 1_800_000_030_000 } },
      true,
      true,
      'in 30 s',
    ],
    [
      'a Workload API that is away',
      { identity: { ...FACTS.identity, workloadApiConnected: false, detail: 'no such socket' } },
      true,
      true,
      'does not answer: no such socket',
    ],
    ['revocations that may not be all', { revocationsStale: 'the record: damaged' }, true, true, 'the record: damaged'],
    ['no terminator', {}, true, false, 'no terminator listens'],
  ])('%s', async (what, change, isLive, isReady, said) => {
    view.facts = { ...FACTS, ...change };
    view.terminators = what === 'no terminator' ? 0 : 1;
    const health = healthOf(await view.status());
    expect(health).toMatchObject({ isLive, isReady });
    expect(health.problems.join('\n')).toContain(said);
  });
});

async function get(path: string, method = 'GET', host = `127.0.0.1:${port}`) {
  const asked = request({ host: '127.0.0.1', port, path, method, headers: { host }, agent: false }).end();
  const [response] = await once(asked, 'response');
  return { status: response.statusCode, type: response.headers['content-type'], text: await text(response) };
}
