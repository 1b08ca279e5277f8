import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlWorld, reason, request, seenByServer } from './control-world.ts';
import { frame, LARGEST_REQUEST } from './frame.ts';

let world: ControlWorld;

beforeEach(async () => {
  world = await ControlWorld.create();
});

afterEach(() => world[Symbol.asyncDispose]());

describe('hostile bytes', () => {
  it.each([
    ['a length above the limit, before its bytes come', lengthOf(LARGEST_REQUEST + 1)],
    ['a length of 4 GiB', lengthOf(0xffff_ffff)],
    ['an empty message', lengthOf(0)],
    ['bytes that are no protobuf', frame(Buffer.from('GET / HTTP/1.1\r\n'))],
    ['a request of a later version', frame(Buffer.from([0xfa, 0x07, 0x00]))],
    ['a condition of a later version inside a known order', frame(Buffer.from([0x2a, 0x03, 0xfa, 0x07, 0x00]))],
    ['trailing bytes', frame(Buffer.concat([request({ case: 'status', value: {} }), Buffer.from([0])]))],
    ['an identifier with a line break', frame(request({ case: 'end', value: { id: 'a\nb' } }))],
    ['an identifier without end', frame(request({ case: 'session', value: { id: 'a'.repeat(129) } }))],
    ['a type that is none', frame(request({ case: 'sessions', value: { type: 'root' } }))],
  ])('%s is refused as MALFORMED', async (_, bytes) => {
    await world.start();
    const { raw, next } = await world.stranger();
    raw.write(bytes);
    expect(await next()).toMatchObject({ refused: 'MALFORMED' });
    expect(await (await world.console()).posture()).toMatchObject({ effective: 5 });
  });

  it('a request that is cut off and never ends is dropped after the idle time', async () => {
    await world.start({ idleMs: 1_000 });
    const { raw } = await world.stranger();
    const whole = frame(request({ case: 'session', value: { id: 's-1' } }));
    raw.write(whole.subarray(0, 6));
    await seenByServer();
    world.clock.advance(999);
    expect(raw.closed).toBe(false);
    world.clock.advance(1);
    await once(raw, 'close');
  });

  it('a byte at a time does not buy more time', async () => {
    await world.start({ idleMs: 1_000 });
    const { raw } = await world.stranger();
    const closed = once(raw, 'close');
    for (const byte of frame(request({ case: 'session', value: { id: 's-1' } })).subarray(0, 7)) {
      raw.write(Buffer.of(byte));
      await seenByServer();
      world.clock.advance(150);
    }
    await closed;
  });

  it('two requests at once are answered one after the other', async () => {
    await world.start();
    const { raw, next } = await world.stranger();
    const status = frame(request({ case: 'status', value: {} }));
    raw.write(Buffer.concat([status, frame(request({ case: 'posture', value: {} })), status.subarray(0, 3)]));
    expect(await next()).toMatchObject({ case: 'status' });
    expect(await next()).toMatchObject({ case: 'posture' });
    raw.write(status.subarray(3));
    expect(await next()).toMatchObject({ case: 'status' });
  });

  it('an answer that grows past 1 MiB becomes a refusal, not a broken frame', async () => {
    world.view.peerList = Array.from({ length: 3 }, () => ({
      name: 'x'.repeat(400_000),
      spiffeId: '',
      state: 'waiting',
    }));
    await world.start();
    const client = await world.console();
    expect(await reason(client.peers())).toBe('INTERNAL');
    expect((await client.status()).instance).toBe('test');
  });

  it('a fault inside the gateway is INTERNAL and tells nothing else', async () => {
    world.view.peers = () => Promise.reject(new Error('the secret is 42'));
    await world.start();
    await expect((await world.console()).peers()).rejects.toThrow(/^INTERNAL: a fault of this side$/);
  });
});

function lengthOf(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}
