/** A world for the command line in tests: what it printed, and what it asked for, can be read afterwards. */
import { PassThrough } from 'node:stream';
import { ManualClock } from '../control/fixtures.ts';
import type { Host } from './doctor/host.ts';
import { main } from './main.ts';
import type { RemoteShell } from './remote-shell.ts';
import type { ConnectedSession, ConnectRequest } from './session-port.ts';
import type { CliWorld, ExitCode, OpenedQuartermaster, QuartermasterPlace, TerminatorOptions } from './world.ts';

export interface Ran {
  readonly code: ExitCode;
  readonly out: string;
  readonly err: string;
}

export class FakeWorld implements CliWorld {
  readonly out = new Printed();
  readonly err = new Printed();
  clock: CliWorld['clock'] = new ManualClock();
  readonly interruption = new AbortController();
  readonly environment: Record<string, string> = {};
  readonly version = '0.1.0';
  /** How whoever asks came. */
  shell: RemoteShell | undefined;
  readonly asked: (ConnectRequest | TerminatorOptions | QuartermasterPlace | string)[] = [];
  /** What the next `connect` gets; a rejection is the gateway's refusal. */
  session: () => Promise<ConnectedSession> = () => Promise.reject(new Error('no session was prepared'));
  gateway: () => Promise<void> = () => Promise.resolve();
  quartermaster: () => Promise<OpenedQuartermaster> = () => Promise.reject(new Error('no Quartermaster was prepared'));
  /** What somebody at the terminal says to each question; without them there is no terminal. */
  says: ((question: string) => string) | undefined;
  makeHost: () => Host = () => {
    throw new Error('no host was prepared');
  };

  get interrupted(): AbortSignal {
    return this.interruption.signal;
  }

  remoteShell(): RemoteShell | undefined {
    return this.shell;
  }

  async runGateway(configPath: string): Promise<void> {
    this.asked.push(configPath);
    await this.gateway();
  }

  async restorePosture(configPath: string): Promise<void> {
    this.asked.push(configPath);
    await this.gateway();
  }

  async runTerminator(options: TerminatorOptions): Promise<void> {
    this.asked.push(options);
    await this.gateway();
  }

  async connectSession(request: ConnectRequest): Promise<ConnectedSession> {
    this.asked.push(request);
    return await this.session();
  }

  async runQuartermaster(configPath: string): Promise<void> {
    this.asked.push(configPath);
    await this.gateway();
  }

  async openQuartermaster(place: QuartermasterPlace): Promise<OpenedQuartermaster> {
    this.asked.push(place);
    return await this.quartermaster();
  }

  questions(): ReturnType<CliWorld['questions']> {
    const { says } = this;
    if (says === undefined) return undefined;
    return { ask: async (question) => says(question), [Symbol.dispose]: () => undefined };
  }

  async host(): Promise<Host> {
    return this.makeHost();
  }

  async run(...argv: readonly string[]): Promise<Ran> {
    const code = await main(argv, this);
    return { code, out: this.out.text, err: this.err.text };
  }
}

/** A terminal that keeps what it was told, and tells who waits for some of it. */
export class Printed {
  text = '';
  readonly #written = new PassThrough().resume();

  write(text: string): void {
    this.text += text;
    this.#written.emit('written');
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text);
      if (match !== null) return match;
      await new Promise((resolve) => this.#written.once('written', resolve));
    }
  }
}
