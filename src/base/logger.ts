/** Structured logs: one JSON object a line. The rest of the daemon knows only this interface. */
import { destination, type LevelWithSilent, pino, stdSerializers } from 'pino';

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** The same with fields that stand in every line. */
  child(fields: object): Logger;
}

export interface LogOptions {
  readonly level: LevelWithSilent;
  /** Standard error unless told. */
  readonly file?: string | undefined;
  readonly fields?: object;
}

/** Names under which nothing is ever written, however it got into a line. */
const SECRETS = ['sat', 'token', 'secret', 'privateKey', 'presharedKey', 'reattestSecret'];

export function createLogger(options: LogOptions): Logger {
  const target = options.file === undefined ? destination({ fd: 2, sync: true }) : destination({ dest: options.file, mkdir: true, sync: true });
  return pino(
    {
      level: options.level,
      base: options.fields ?? {},
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: stdSerializers.err },
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`]), censor: '[secret]' },
    },
    target,
  );
}

/** Writes nothing. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};
