/** A witness over HTTP in this process, where Go's would be too slow to start. It judges by our verifier, not our prover. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import {
  cosign,
  formatSignature,
  formatVerifierKey,
  fromBase64,
  isConsistent,
  type NoteKey,
  noteKey,
  parseCheckpoint,
  parseNote,
  sameBytes,
} from '../../protocol/evidence/index.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { noteSigner } from '../../src/evidence/ed25519.ts';

const { sha256, randomBytes } = nodeCrypto;

export class MemoryWitness implements AsyncDisposable {
  readonly #server: Server;
  readonly #sign: (message: Uint8Array) => Uint8Array;
  readonly key: NoteKey;
  /** Of the largest tree that it cosigned. */
  latest: { readonly size: number; readonly root: Uint8Array } = { size: 0, root: new Uint8Array() };
  isAway = false;
  asked = 0;

  static async start(name = 'witness.example/memory'): Promise<MemoryWitness> {
    const server = createServer();
    const witness = new MemoryWitness(server, name);
    server.on('request', async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const { status, type = 'text/plain', body = '' } = witness.#answer(Buffer.concat(chunks));
      response.writeHead(status, { 'Content-Type': type });
      response.end(body);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return witness;
  }

  private constructor(server: Server, name: string) {
    const { publicKey, sign } = noteSigner(sha256, name, randomBytes(32));
    this.#server = server;
    this.#sign = sign;
    this.key = noteKey(sha256, 'cosigner', name, publicKey);
  }

  get url(): string {
    const address = this.#server.address();
    return typeof address === 'object' ? `http://127.0.0.1:${address?.port}` : '';
  }

  get verifierKey(): string {
    return formatVerifierKey(this.key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(body: Buffer): { readonly status: number; readonly type?: string; readonly body?: string } {
    this.asked += 1;
    if (this.isAway) return { status: 503 };
    const split = body.indexOf('\n\n');
    const [first = '', ...lines] = body.subarray(0, split).toString().split('\n');
    const old = Number(first.replace(/^old /, ''));
    const proof = lines.map((line) => fromBase64(line) ?? new Uint8Array());
    const { text } = parseNote(new Uint8Array(body.subarray(split + 2)));
    const { size, root } = parseCheckpoint(text);
    const { latest } = this;
    if (old !== latest.size) return { status: 409, type: 'text/x.tlog.size', body: `${latest.size}\n` };
    if (old === size && old > 0 && !sameBytes(root, latest.root)) return { status: 409 };
    if (!isConsistent(sha256, proof, old, old === size ? root : latest.root, size, root)) return { status: 422 };
    this.latest = { size, root };
    return { status: 200, body: formatSignature(cosign({ ...this.key, sign: this.#sign }, text, 1_800_000_000)) };
  }
}
