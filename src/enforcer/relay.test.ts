import { expect, test } from 'vitest';
import { type Relay, Relays } from './relay.ts';

test('a session has one relay through its renewals, and none after its end', async () => {
  const { relays, opened } = world();
  const first = await relays.of('one', 51_820);
  expect(await relays.of('one', 51_820)).toBe(first);
  relays.send('one', Uint8Array.of(1));
  relays.close('one');
  relays.send('one', Uint8Array.of(2));
  expect(opened).toEqual([{ listenPort: 51_820, sent: [1], isClosed: true }]);
});

test('what comes by a relay is told of its own session', async () => {
  const { relays, heard, arrive } = world();
  await relays.of('one', 1);
  await relays.of('two', 1);
  arrive(1, 7);
  arrive(0, 8);
  expect(heard).toEqual([
    ['two', 7],
    ['one', 8],
  ]);
});

test('a session that has no relay here is nobody’s to name', () => {
  const { relays, opened } = world();
  relays.send('another terminator’s', Uint8Array.of(1));
  relays.close('another terminator’s');
  expect(opened).toEqual([]);
});

function world() {
  const opened: { readonly listenPort: number; readonly sent: number[]; isClosed: boolean }[] = [];
  const arrivals: ((packet: Uint8Array) => void)[] = [];
  const heard: (readonly [string, number | undefined])[] = [];
  const relays = new Relays(
    async (listenPort, onPacket): Promise<Relay> => {
      const one = { listenPort, sent: [] as number[], isClosed: false };
      opened.push(one);
      arrivals.push(onPacket);
      return {
        endpoint: { address: '127.0.0.1', port: opened.length },
        send: (packet) => void one.sent.push(packet[0] ?? 0),
        close: () => {
          one.isClosed = true;
        },
      };
    },
    (session, packet) => heard.push([session, packet[0]]),
  );
  const arrive = (at: number, value: number): void => arrivals[at]?.(Uint8Array.of(value));
  return { relays, opened, heard, arrive };
}
