import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Entry, hostile, memorySource, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { MemoryIdentitySource } from './index.ts';
import {
  type Accepts,
  type AuthenticatedSocket,
  connectSpiffeTls,
  listenSpiffeTls,
  type SpiffeTlsParts,
} from './spiffe-tls.ts';
import { SvidVerifier } from './svid-verifier.ts';

const HOUR = 3_600_000;
let clock: SteppedClock;
let domains: TemporaryDomains;
let domain: TrustDomain;
let cleanup: AsyncDisposableStack;
let server: End;
let accepted: AuthenticatedSocket[];
let refused: string[];
let somebody: () => void;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  clock = new SteppedClock(Math.floor(Date.now() / 1000) * 1000);
  domains = cleanup.use(await TemporaryDomains.create(clock));
  domain = await domains.start('a.test');
  server = await endOf(domain, '/bascule');
  accepted = [];
  refused = [];
  somebody = () => undefined;
});
afterEach(() => cleanup.disposeAsync());

describe('two ends of one domain', () => {
  test('know each other by SPIFFE ID, and bytes pass', async () => {
    const address = await listen();
    const ours = await dial(await endOf(domain, '/gateway'), address);
    const theirs = await arrival();
    expect([ours.peer.spiffeId, theirs.peer.spiffeId]).toEqual([server.entry.spiffeId, 'spiffe://a.test/gateway']);
    ours.socket.write('hello');
    expect(String((await once(theirs.socket, 'data'))[0])).toBe('hello');
  });

  test('a rotated SVID is what the next connection shows', async () => {
    const address = await listen();
    const client = await endOf(domain, '/gateway');
    const before = await dial(client, address);
    server.entry.rotate();
    server.source.refresh();
    const after = await dial(client, address);
    expect(after.peer.chainHash).not.toBe(before.peer.chainHash);
  });

  test('what listens before there is a valid SVID lets nobody in, and everybody once there is one', async () => {
    const good = server.source.current();
    server.source.replaceIdentity({ ...good, expiresAt: clock.now() - 1 });
    const address = await listen();
    const client = await endOf(domain, '/gateway');
    await expect(dial(client, address)).rejects.toThrow();
    expect(accepted).toEqual([]);
    server.source.replaceIdentity(good);
    await dial(client, address);
    expect((await arrival()).peer.spiffeId).toBe('spiffe://a.test/gateway');
  });

  test('a chain with an intermediate authority is verified whole', async () => {
    const intermediate = hostile.issueIntermediate(domain, clock);
    const address = await listen();
    const client = await endOf(domain, '/gateway');
    showing(client, hostile.issueBelow(intermediate, clock, 'spiffe://a.test/gateway'));
    await dial(client, address);
    expect((await arrival()).peer.spiffeId).toBe('spiffe://a.test/gateway');
  });
});

describe('who dials refuses', () => {
  test('attack: another identity of the same domain answers', async () => {
    const address = await listen();
    const dialling = dial(await endOf(domain, '/gateway'), address, (id) => id === 'spiffe://a.test/other');
    await expect(dialling).rejects.toThrow('WRONG_IDENTITY');
  });

  test('attack: the right name by an authority that nobody trusts', async () => {
    showing(server, hostile.impersonate(domain, clock, '/bascule'));
    const address = await listen();
    await expect(dial(await endOf(domain, '/gateway'), address)).rejects.toThrow('SVID_UNTRUSTED');
  });

  test('attack: a domain whose bundle is not at hand', async () => {
    const address = await listen();
    const stranger = await endOf(await domains.start('b.test'), '/gateway');
    await expect(dial(stranger, address)).rejects.toThrow('NO_BUNDLE');
  });

  test('an expired SVID', async () => {
    showing(server, expired('/bascule'));
    const address = await listen();
    await expect(dial(await endOf(domain, '/gateway'), address)).rejects.toThrow('SVID_EXPIRED');
  });

  test('its own expired SVID before it opens a connection', async () => {
    const client = await endOf(domain, '/gateway');
    clock.advance(2 * HOUR);
    await expect(dial(client, 1)).rejects.toThrow('SVID_EXPIRED');
  });

  test('a port where nobody listens, and a wait that was given up', async () => {
    const client = await endOf(domain, '/gateway');
    await expect(dial(client, 1)).rejects.toThrow('CONNECTION_LOST');
    const given = AbortSignal.abort();
    await expect(connectSpiffeTls(client.parts, at(1), () => true, given)).rejects.toThrow('CONNECTION_LOST');
  });
});

describe('who listens refuses', () => {
  test('attack: no certificate at all', async () => {
    const address = await listen();
    await turnedAway(connectTls({ ...at(address), rejectUnauthorized: false, ALPNProtocols: ['h2'] }));
    expect(refused).toEqual([expect.stringContaining('SVID_MALFORMED')]);
  });

  test('attack: an identity that is not accepted', async () => {
    const address = await listen((id) => id === 'spiffe://a.test/other');
    await turnedAway((await dial(await endOf(domain, '/gateway'), address)).socket);
    expect(refused).toEqual([expect.stringContaining('WRONG_IDENTITY')]);
  });

  test('attack: an accepted name by an authority that nobody trusts', async () => {
    const address = await listen();
    const client = await endOf(domain, '/gateway');
    showing(client, hostile.impersonate(domain, clock, '/gateway'));
    await turnedAway((await dial(client, address)).socket);
    expect(refused).toEqual([expect.stringContaining('SVID_UNTRUSTED')]);
  });

  test('an SVID that has expired', async () => {
    const address = await listen();
    const client = await endOf(domain, '/gateway');
    showing(client, expired('/gateway'));
    await turnedAway((await dial(client, address)).socket);
    expect(refused).toEqual([expect.stringContaining('SVID_EXPIRED')]);
  });

  test('everybody, once its own SVID has expired', async () => {
    const address = await listen();
    clock.advance(2 * HOUR);
    await turnedAway(connectTls({ ...at(address), rejectUnauthorized: false, ALPNProtocols: ['h2'] }));
    expect(refused).toEqual([expect.stringContaining('SVID_EXPIRED')]);
  });

  test('older TLS, another protocol than HTTP/2, and what is no TLS', async () => {
    const address = await listen();
    const { chain, privateKey } = (await endOf(domain, '/gateway')).entry.identity.x509();
    const own = { key: privateKey.export({ type: 'pkcs8', format: 'pem' }), cert: toPem(chain[0]) };
    const open = { ...at(address), ...own, rejectUnauthorized: false };
    await turnedAway(connectTls({ ...open, maxVersion: 'TLSv1.2', ALPNProtocols: ['h2'] }));
    await turnedAway(connectTls(open));
    await turnedAway(
      connectPlain({ ...at(address) }).on('connect', function (this: TLSSocket) {
        this.write('GET / HTTP/1.1\r\n\r\n');
      }),
    );
    expect([accepted.length, refused.length]).toEqual([0, 3]);
  });
});

describe('a connection ends', () => {
  test('when the SVID of its other end expires', async () => {
    const address = await listen();
    const client = await endOf(domain, '/gateway');
    showing(client, domain.authority.issueSvid('spiffe://a.test/gateway', HOUR / 2));
    await dial(client, address);
    const theirs = await arrival();
    const closed = closing(theirs.socket);
    clock.advance(HOUR / 2 + 1_000);
    await closed;
  });

  test('attack: when the authority behind it is no longer trusted', async () => {
    const address = await listen();
    await dial(await endOf(domain, '/gateway'), address);
    const theirs = await arrival();
    const closed = closing(theirs.socket);
    domain.rotateAuthorities({ forget: true });
    server.source.refresh();
    await closed;
  });

  test('and not when the other end merely has a new one', async () => {
    const address = await listen();
    await dial(await endOf(domain, '/gateway'), address);
    const theirs = await arrival();
    domain.rotate();
    server.source.refresh();
    expect(theirs.socket.destroyed).toBe(false);
  });
});

interface End {
  readonly entry: Entry;
  readonly source: MemoryIdentitySource & { refresh(): void };
  readonly parts: SpiffeTlsParts;
}

async function endOf(of: TrustDomain, path: string): Promise<End> {
  const entry = await of.register({ path });
  const source = memorySource(of, entry, clock);
  const svids = new SvidVerifier({ bundles: () => source.bundles, clock });
  return { entry, source, parts: { identity: source, svids, clock: halfReal() } };
}

/** Wall time and timers of the test; the seconds of a handshake are never waited for. */
function halfReal(): Clock {
  return { now: () => clock.now(), monotonic: () => systemClock.monotonic(), after: (ms, act) => clock.after(ms, act) };
}

function showing(end: End, svid: Parameters<typeof identityShown>[1]): void {
  end.source.replaceIdentity(identityShown(end, svid));
}

function identityShown(
  { source }: End,
  { chain, privateKey, expiresAt }: ReturnType<typeof hostile.impersonate>,
): ReturnType<MemoryIdentitySource['current']> {
  return { ...source.current(), chain, privateKey, expiresAt };
}

/** Issued as one that has run out, and shown all the same. */
function expired(path: string): ReturnType<typeof hostile.impersonate> {
  return { ...domain.authority.issueSvid(`spiffe://a.test${path}`, -1_000), expiresAt: clock.now() + HOUR };
}

async function listen(accepts: Accepts = () => true): Promise<number> {
  const { address } = cleanup.use(
    await listenSpiffeTls(server.parts, {
      ...at(0),
      accepts,
      maxConnections: 8,
      onConnection: (connection) => {
        accepted.push(connection);
        somebody();
      },
      onRefused: (error) => {
        refused.push(String(error));
        somebody();
      },
    }),
  );
  return address.port;
}

async function arrival(): Promise<AuthenticatedSocket> {
  for (;;) {
    const [first] = accepted;
    if (first !== undefined) return first;
    await new Promise<void>((resolve) => {
      somebody = resolve;
    });
  }
}

async function dial(client: End, port: number, accepts: Accepts = () => true): Promise<AuthenticatedSocket> {
  const connected = await connectSpiffeTls(client.parts, at(port), accepts, new AbortController().signal);
  cleanup.defer(() => void connected.socket.destroy());
  return connected;
}

function at(port: number): { readonly host: string; readonly port: number } {
  return { host: '127.0.0.1', port };
}

/** The other end closes it, and has been told why not. */
async function turnedAway(socket: NodeJS.EventEmitter & { resume(): unknown }): Promise<void> {
  const before = refused.length;
  socket.on('error', () => undefined);
  socket.resume();
  await closing(socket);
  while (refused.length === before) {
    await new Promise<void>((resolve) => {
      somebody = resolve;
    });
  }
}

/** Also where the end comes with an error. */
function closing(socket: NodeJS.EventEmitter): Promise<void> {
  return new Promise((resolve) => void socket.once('close', () => resolve()));
}

function toPem(der: Uint8Array = new Uint8Array()): string {
  const base64 = Buffer.from(der).toString('base64');
  return `-----BEGIN CERTIFICATE-----\n${base64.match(/.{1,64}/g)?.join('\n')}\n-----END CERTIFICATE-----\n`;
}
