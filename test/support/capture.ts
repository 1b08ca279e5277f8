import { readFile } from 'node:fs/promises';
import type { Namespace } from './namespaces.ts';
import { type Packet, parsePcap } from './pcap.ts';
import { type Running, start } from './processes.ts';

/** tcpdump on one interface of a namespace: what really was on that wire. */
export class Capture implements AsyncDisposable {
  readonly #tcpdump: Running;
  readonly #file: string;

  private constructor(tcpdump: Running, file: string) {
    this.#tcpdump = tcpdump;
    this.#file = file;
  }

  /** Resolves when packets are being taken. `file` is written over. */
  static async start(namespace: Namespace, device: string, file: string): Promise<Capture> {
    const options = ['-i', device, '-w', file, '-U', '-n', '--immediate-mode', '-Z', 'root'];
    const tcpdump = start('setpriv', [
      '--pdeathsig',
      'KILL',
      'nsenter',
      `--net=${namespace.path}`,
      'tcpdump',
      ...options,
    ]);
    await tcpdump.line(/listening on/);
    return new Capture(tcpdump, file);
  }

  /** All so far, in their order on the wire. */
  async packets(): Promise<readonly Packet[]> {
    return parsePcap(await readFile(this.#file));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tcpdump[Symbol.asyncDispose]();
  }
}
