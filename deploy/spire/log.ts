import type { Clock } from '../../src/base/clock.ts';

/** What a plugin says to its host: it stands in SPIRE's own log, under the plugin's name and at the same level. */
export interface Log {
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export type LogFields = Readonly<Record<string, string | number>>;

/** Lines in the form of hashicorp/go-hclog, which go-plugin reads from a plugin's standard error. */
export function hclog(clock: Pick<Clock, 'now'>, write: (line: string) => void): Log {
  const at =
    (level: string) =>
    (message: string, fields: LogFields = {}): void => {
      // Six digits: go-plugin takes no other timestamp, and the whole line for text without a level then.
      const timestamp = new Date(clock.now()).toISOString().replace('Z', '000Z');
      write(`${JSON.stringify({ ...fields, '@level': level, '@message': message, '@timestamp': timestamp })}\n`);
    };
  return { info: at('info'), warn: at('warn'), error: at('error') };
}
