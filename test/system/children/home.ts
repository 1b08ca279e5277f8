/** Between the test and the attacker in a terminator. */

/** Where the attacker calls: site-a's address on the wire. */
export const HOME = { address: '10.77.0.1', port: 9_999 } as const;

/** What the attacker knows: as much as somebody could who has an account on the host. */
export interface Knowledge {
  /** Of the enforcer, of the other terminator and of a stranger, as the host numbers them. */
  readonly pids: readonly number[];
  /** The gateway's own files and folders. */
  readonly paths: readonly string[];
  readonly sockets: readonly string[];
  readonly pins: readonly string[];
  /** A session that the other terminator holds. */
  readonly session: string;
}

/** By the name of what was tried: the error it met. What begins with `done` was not refused. */
export type Findings = Readonly<Record<string, string>>;

/** One attempt: what it answers was not refused, unless it is an error of the kernel as a negative number. */
export type Try = () => unknown;
