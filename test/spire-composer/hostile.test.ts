/** What reaches the composer's socket and is no host: after each of it the host goes on as if nothing had been. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { describeWith, needs } from '../support/requirements.ts';
import { BUILD_MS, type Host, type Started } from './driver.ts';
import { field, INTERNAL, INVALID_ARGUMENT, RawClient, RESOURCE_EXHAUSTED, UNIMPLEMENTED } from './raw-grpc.ts';
import { MAPPING, TRUST_DOMAIN, World } from './world.ts';

const COMPOSE = '/spire.plugin.server.credentialcomposer.v1.CredentialComposer/ComposeWorkloadJWTSVID';
const CONFIGURE = '/spire.service.common.config.v1.Config/Configure';
const BROKER = '/plugin.GRPCBroker/StartStream';
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const ANN = 'spiffe://a.test/ann';

describeWith(['go'], 'the socket of the credential composer', () => {
  let world: World;
  let host: Host;
  let plugin: Started;

  beforeAll(async () => {
    world = await World.create();
    host = world.host();
    plugin = await host.start();
    await host.ask('configure', { trustDomain: TRUST_DOMAIN, pluginData: await world.mapping(MAPPING) });
  }, BUILD_MS);
  afterAll(() => world[Symbol.asyncDispose]());
  afterEach(async () => {
    await host.ask('ping');
    expect(await host.ask('compose', { spiffeId: ANN, claims: { sub: ANN } })).toEqual({ sub: ANN, tier: 'master' });
  });

  test('is closed to other users', (context) => {
    needs(context, 'root');
    const dial = `require('node:net').connect(process.argv[1]).on('error', (error) => console.log(error.code))`;
    const end = spawnSync(process.execPath, ['-e', dial, plugin.socket], { uid: 65_534, gid: 65_534, cwd: '/' });
    expect(end.stdout.toString().trim()).toBe('EACCES');
  });

  test.each([
    ['garbage', Buffer.alloc(100_000, 0xa5)],
    ['HTTP/1.1', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['frames that are none behind a good preface', Buffer.concat([Buffer.from(PREFACE), Buffer.alloc(5000, 0xff)])],
    [
      'a frame of 16 MiB',
      Buffer.concat([Buffer.from(PREFACE), Buffer.from('000000040000000000', 'hex'), Buffer.alloc(20_000, 0xff)]),
    ],
  ])('ends a connection that speaks %s', async (_, bytes) => {
    const socket = await dialled();
    socket.write(bytes);
    await once(socket, 'close');
  });

  test('lets nobody fill it: of many idle connections those above the limit end', async () => {
    const sockets = await Promise.all(Array.from({ length: 40 }, () => dialled()));
    await Promise.any(sockets.map((socket) => once(socket, 'close')));
    for (const socket of sockets) socket.destroy();
  });

  test('refuses a message above its limit, and one that would be above it unpacked', async () => {
    const call = host.ask('call', { method: CONFIGURE, bytes: 2 ** 20 });
    await expect(call).rejects.toMatchObject({ code: 'ResourceExhausted' });
    using client = new RawClient(plugin.socket);
    const bomb = gzipSync(field(2, Buffer.alloc(64 * 2 ** 20)));
    expect(bomb.length).toBeLessThan(100_000);
    expect(await client.call(CONFIGURE, bomb, { gzip: true })).toBe(RESOURCE_EXHAUSTED);
  });

  test.each([
    ['a method that is not there', '/spire.service.common.config.v1.Config/Reset'],
    ['a service that is not there', '/spire.plugin.server.keymanager.v1.KeyManager/GenerateKey'],
  ])('does not know %s', async (_, method) => {
    await expect(host.ask('call', { method })).rejects.toMatchObject({ code: 'Unimplemented' });
    using client = new RawClient(plugin.socket);
    expect(await client.call(method, Buffer.alloc(0))).toBe(UNIMPLEMENTED);
  });

  test('refuses bytes that are no message', async () => {
    using client = new RawClient(plugin.socket);
    expect([INVALID_ARGUMENT, INTERNAL]).toContain(await client.call(COMPOSE, Buffer.from('0affffffff7f', 'hex')));
  });

  test('refuses claims nested so deep that reading them would end the stack', async () => {
    let value: Uint8Array = Buffer.from([0x08, 0x00]);
    for (let depth = 0; depth < 20_000; depth += 1) value = field(6, field(1, value));
    const claims = field(1, Buffer.concat([field(1, Buffer.from('deep')), field(2, value)]));
    using client = new RawClient(plugin.socket);
    const status = await client.call(COMPOSE, Buffer.concat([field(1, field(1, claims)), field(2, Buffer.from(ANN))]));
    expect([INVALID_ARGUMENT, INTERNAL, RESOURCE_EXHAUSTED]).toContain(status);
  });

  test('takes thousands of offers through the broker, and keeps none', async () => {
    using client = new RawClient(plugin.socket);
    const stream = client.session.request({
      ':method': 'POST',
      ':path': BROKER,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => undefined);
    const offer = field(3, Buffer.alloc(1000, 0x61));
    const message = Buffer.concat([Buffer.from([0, 0, 0, offer.length >> 8, offer.length & 0xff]), offer]);
    for (let count = 0; count < 5000; count += 1) if (!stream.write(message)) await once(stream, 'drain');
    stream.end();
    await once(stream.resume(), 'end');
  });

  test('survives a connection that opens streams and resets them (CVE-2023-44487)', async () => {
    using client = new RawClient(plugin.socket);
    await once(client.session, 'connect');
    for (let count = 0; count < 5000 && !client.session.destroyed; count += 1) {
      const stream = client.session.request({
        ':method': 'POST',
        ':path': COMPOSE,
        'content-type': 'application/grpc',
      });
      stream.on('error', () => undefined);
      stream.close(8);
    }
  });

  async function dialled(): Promise<Socket> {
    const socket = connect(plugin.socket);
    socket.on('error', () => undefined).resume();
    await once(socket, 'connect');
    return socket;
  }
});
