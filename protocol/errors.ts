import { type Fault, REASONS, type Reason } from './reasons.ts';

/** The one error class of protocol and daemon: a reason from the closed list, the fields that explain it, and its cause. */
export class ShellstreamError extends Error {
  readonly reason: Reason;
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(reason: Reason, detail?: string, options: { cause?: unknown; fields?: Record<string, unknown> } = {}) {
    const text = detail ?? REASONS[reason].text;
    super(`${reason}: ${text}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ShellstreamError';
    this.reason = reason;
    this.fields = options.fields ?? {};
  }

  get fault(): Fault {
    return REASONS[this.reason].fault;
  }
}

/** The reason behind any thrown value; what is not ours is INTERNAL. */
export function reasonOf(error: unknown): Reason {
  return error instanceof ShellstreamError ? error.reason : 'INTERNAL';
}

/** For the end of a `switch` over a closed union. */
export function assertNever(value: never): never {
  throw new ShellstreamError('INTERNAL', `unreachable value ${JSON.stringify(value)}`);
}
