/** One embedded end in this process: `end.server.ts NAMESPACE NAME PRIVATE-KEY PORT`, then its peers, one JSON object a line. */
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { openEmbedded } from './ours.ts';

const bytes = z.string().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const peer = z.object({
  publicKey: bytes,
  presharedKey: bytes,
  allowedIp: z.object({ address: bytes, length: z.number() }),
  endpoint: z.object({ address: z.string(), port: z.number() }),
});

const [namespace = '', name = '', privateKey = '', port = ''] = process.argv.slice(2);
const device = await openEmbedded({ namespace, name, privateKey: bytes.parse(privateKey), listenPort: Number(port) });
process.stdout.write('open\n');
for await (const line of createInterface({ input: process.stdin })) {
  await device.addPeers([peer.parse(JSON.parse(line))]);
  process.stdout.write('added\n');
}
