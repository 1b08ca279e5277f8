import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { openUdpRelay, type UdpRelay } from './udp-relay.ts';

let wireguard: Socket;
let relay: UdpRelay;
let heard: string[];
let told: (() => void) | undefined;

beforeEach(async () => {
  wireguard = await bound();
  heard = [];
  relay = await openUdpRelay(wireguard.address().port, (packet) => {
    heard.push(Buffer.from(packet).toString());
    told?.();
  });
});

afterEach(() => {
  relay.close();
  wireguard.close();
});

test('packets go to that port, and come from it, one each', async () => {
  relay.send(Buffer.from('there'));
  const [packet, from] = await once(wireguard, 'message');
  expect([String(packet), from.address, from.port]).toEqual(['there', '127.0.0.1', relay.endpoint.port]);
  await said(wireguard, 'back');
  expect(heard).toEqual(['back']);
});

test('attack: another program of the host sends to it, and nothing of that is carried', async () => {
  const stranger = await bound();
  await new Promise((resolve) => stranger.send('forged', relay.endpoint.port, '127.0.0.1', resolve));
  await said(wireguard, 'honest');
  stranger.close();
  expect(heard).toEqual(['honest']);
});

test('what is sent while nobody listens is lost, and what comes later arrives', async () => {
  const { port } = wireguard.address();
  wireguard.close();
  relay.send(Buffer.from('lost'));
  relay.send(Buffer.from('lost too'));
  wireguard = await bound(port);
  const arrived: string[] = [];
  wireguard.on('message', (packet) => arrived.push(String(packet)));
  // The kernel tells of the loss at the next packet, which it loses too.
  await eventually('a packet', () => {
    relay.send(Buffer.from('here'));
    return arrived.includes('here');
  });
  relay.close();
  relay.send(Buffer.from('after its end'));
});

async function bound(port = 0): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(port, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

async function said(socket: Socket, text: string): Promise<void> {
  const arrived = new Promise<void>((resolve) => {
    told = resolve;
  });
  socket.send(text, relay.endpoint.port, '127.0.0.1');
  await arrived;
}
