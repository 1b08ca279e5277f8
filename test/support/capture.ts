import { readFile } from 'node:fs/promises';
import { eventually } from './eventually.ts';
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
    const options = ['-i', device, '-w', file, '-U', '-n', '--immediate-mode', ...ROOM, '-Z', 'root'];
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

  /** All so far, in their order on the wire: what the kernel had taken when this was called is among them. */
  async packets(): Promise<readonly Packet[]> {
    // It ends with its interface.
    const { code, signal } = this.#tcpdump.sofar();
    if (code === null && signal === null) await this.#catchUp();
    return parsePcap(await readFile(this.#file));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tcpdump[Symbol.asyncDispose]();
  }

  async #catchUp(): Promise<void> {
    const { taken } = await this.#counts();
    await eventually(`${taken} packets in the file`, async () => (await this.#counts()).written >= taken);
  }

  /** tcpdump's own: on a busy host it writes a packet long after that was on the wire. */
  async #counts(): Promise<{ readonly written: number; readonly taken: number }> {
    const all = (): readonly RegExpMatchArray[] => [...this.#tcpdump.sofar().stderr.matchAll(COUNTS)];
    const before = all().length;
    this.#tcpdump.kill('SIGUSR1');
    const [, written, received, dropped] = await eventually('counts of tcpdump', () => all()[before], { everyMs: 5 });
    return { written: Number(written), taken: Number(received) - Number(dropped) };
  }
}

/** Each packet that waits for tcpdump has a place of the longest size; by default there are eight, soon lost on a busy host. */
const ROOM = ['--snapshot-length', '65535', '--buffer-size', '65536'];
const COUNTS = /^.*?(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel.*\n/gm;
