/** Everything of the world that the command line needs; `src/roots/shellstream.ts` gives the real one. */
import type { Clock } from '../base/clock.ts';
import type { LogLevel } from '../base/logger.ts';
import type { QuartermasterClient } from '../quartermaster/client.ts';
import type { Host } from './doctor/host.ts';
import type { Questions } from './init/answers.ts';
import type { RemoteShell } from './remote-shell.ts';
import type { ConnectedSession, ConnectRequest } from './session-port.ts';

export interface CliWorld {
  readonly out: Terminal;
  readonly err: Terminal;
  readonly clock: Clock;
  /** Aborts when the operator interrupts (SIGINT, SIGTERM). */
  readonly interrupted: AbortSignal;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Undefined: whoever asks sits at this host, as far as can be told. */
  remoteShell(): RemoteShell | undefined;
  /** Of the package. */
  readonly version: string;
  /** Runs until the gateway has shut down; it minds the signals itself. Rejects when it cannot start. */
  runGateway(configPath: string): Promise<void>;
  /** Puts the kept level into the kernel, and resolves. Rejects when it cannot. */
  restorePosture(configPath: string): Promise<void>;
  /** Runs until its gateway lets it go; rejects when it cannot start. */
  runTerminator(options: TerminatorOptions): Promise<void>;
  /** Resolves at GRANT; rejects with the reason of the refusal, or when `interrupted` aborts. */
  connectSession(request: ConnectRequest, interrupted: AbortSignal): Promise<ConnectedSession>;
  /** Runs until it is interrupted; rejects when it cannot start. */
  runQuartermaster(configPath: string): Promise<void>;
  openQuartermaster(place: QuartermasterPlace, interrupted: AbortSignal): Promise<OpenedQuartermaster>;
  /** Somebody to ask; undefined where standard input is no terminal. */
  questions(): (Questions & Disposable) | undefined;
  /** For the doctor only. */
  host(): Promise<Host>;
}

/** This host's by its socket, another one's by SPIFFE ID. */
export type QuartermasterPlace =
  | { readonly socket: string }
  | {
      readonly address: { readonly host: string; readonly port: number };
      readonly spiffeId: string;
      /** Socket of the agent that says who we are. */
      readonly workloadApi: string;
    };

export interface OpenedQuartermaster extends AsyncDisposable {
  readonly client: QuartermasterClient;
}

export interface TerminatorOptions {
  /** Of the gateway; undefined: file descriptor 3. */
  readonly socket?: string;
  readonly instance: string;
  readonly logLevel: LogLevel;
}

export interface Terminal {
  write(text: string): void;
}

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
