/** Schema fields that accords and configuration share: text of people into values of the model. */
import { z } from 'zod';
import type { Prefix } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import { parseSpiffeId, parseSpiffeIdPattern, type SpiffeId, type SpiffeIdPattern } from '../identity/spiffe-id.ts';
import { parseInterfaceAddress, parsePrefix } from '../net/prefix.ts';

/** `10.1.0.0/16`, or an address for itself. */
export const prefixField: z.ZodType<Prefix> = parsed(parsePrefix);

/** `10.9.0.1/24`, host bits kept. */
export const interfaceAddressField: z.ZodType<Prefix> = parsed(parseInterfaceAddress);

export const spiffeIdField: z.ZodType<SpiffeId> = parsed((text) =>
  required(parseSpiffeId(text), 'not a SPIFFE ID (spiffe://domain/path)'),
);

export const spiffeIdPatternField: z.ZodType<SpiffeIdPattern> = parsed((text) =>
  required(parseSpiffeIdPattern(text), 'not a SPIFFE ID pattern (spiffe://domain/part/*/**)'),
);

const PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ['icmp', 1],
  ['tcp', 6],
  ['udp', 17],
  ['icmpv6', 58],
]);

/** `tcp`, `udp`, `icmp`, `icmpv6` → the IANA protocol number. */
export const protocolField: z.ZodType<number> = parsed((text) =>
  required(PROTOCOLS.get(text), `not one of ${[...PROTOCOLS.keys()].join(', ')}`),
);

export function hasPorts(protocol: number): boolean {
  return protocol === 6 || protocol === 17;
}

/** A text field whose parser's refusal becomes the field's. */
export function parsed<T>(parse: (text: string) => T): z.ZodType<T> {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      const message = error instanceof ShellstreamError ? error.message : 'cannot be read';
      context.addIssue({ code: 'custom', message: message.replace(/^MALFORMED: /, '') });
      return z.NEVER;
    }
  });
}

function required<T>(value: T | undefined, text: string): T {
  if (value === undefined) throw new ShellstreamError('MALFORMED', text);
  return value;
}
