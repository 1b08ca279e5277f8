/** What `shellstream init` must know, from flags or from questions. */
import { InvalidArgumentError } from 'commander';
import { isTrustDomain, parseSpiffeId, type SpiffeId } from '../../../protocol/identity/spiffe-id.ts';
import { tryParseAddress } from '../../../protocol/net/address.ts';
import { dialled } from '../arguments.ts';

export interface Answers {
  readonly instance: string;
  readonly trustDomain: string;
  readonly peers: readonly PeerAnswer[];
  /** Prefixes behind us. */
  readonly advertise: readonly string[];
  /** Our own, with the length of their network. */
  readonly tunnelAddresses: readonly string[];
  readonly isolate: 'all-but-loopback' | 'none';
  /** HOST:PORT of metrics and health; loopback. */
  readonly metrics: string | undefined;
  /** Whom terminators run as that something else starts; undefined: the gateway starts them. */
  readonly terminators: string | number | undefined;
}

export interface PeerAnswer {
  readonly name: string;
  readonly spiffeId: SpiffeId;
  /** HOST:PORT; without one the peer dials us. */
  readonly address: string | undefined;
}

/** Of a person at a terminal. */
export interface Questions {
  /** Without the line's end. Rejects when the terminal is closed. */
  ask(question: string): Promise<string>;
}

export function trustDomain(text: string): string {
  if (!isTrustDomain(text)) throw new InvalidArgumentError('A trust domain looks like alpha.example.');
  return text;
}

/** `name=spiffe://domain/path@host:port`, or without `@host:port` where the peer dials us. */
export function peer(text: string): PeerAnswer {
  const [, name, identity = '', address] =
    /^([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)=([^@]+)(?:@(.+))?$/.exec(text) ?? [];
  const spiffeId = parseSpiffeId(identity);
  if (name === undefined || spiffeId === undefined) {
    throw new InvalidArgumentError('A peer looks like beta=spiffe://beta.example/gateway@gateway.beta.example:7843.');
  }
  if (address !== undefined) dialled(address);
  return { name, spiffeId, address };
}

/** An address or a prefix; the configuration's own rules are stricter and come later. */
export function network(text: string): string {
  const [, address = '', length = '0'] = /^([0-9a-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? [];
  const bytes = tryParseAddress(address);
  if (bytes === undefined || Number(length) > bytes.length * 8) {
    throw new InvalidArgumentError('A network looks like 10.1.0.0/16 or fd00:1::/48.');
  }
  return text;
}

/** Asks for what a first configuration needs, each question again until its answer fits; an empty answer takes the default. */
export async function asked(
  questions: Questions,
  given: Partial<Answers>,
  say: (text: string) => void,
): Promise<Pick<Answers, 'trustDomain' | 'tunnelAddresses' | 'advertise' | 'peers'>> {
  const one = async <T>(question: string, parse: (text: string) => T): Promise<T> => {
    for (;;) {
      const text = (await questions.ask(`${question} `)).trim();
      try {
        return parse(text);
      } catch (error) {
        if (!(error instanceof InvalidArgumentError)) throw error;
        say(`${error.message}\n`);
      }
    }
  };
  const several = <T>(question: string, parse: (text: string) => T): Promise<readonly T[]> =>
    one(question, (text) => text.split(/[\s,]+/).flatMap((part) => (part === '' ? [] : [parse(part)])));

  return {
    trustDomain: given.trustDomain ?? (await one('SPIFFE trust domain of this site (alpha.example):', trustDomain)),
    tunnelAddresses:
      given.tunnelAddresses ??
      (await several('Our addresses inside the tunnel (10.9.0.1/24; none: streams only):', network)),
    advertise:
      given.advertise ?? (await several('Prefixes behind us that peers may reach (10.1.0.0/16; none):', network)),
    peers: given.peers ?? (await several('Peers (beta=spiffe://beta.example/gateway@HOST:7843; none):', peer)),
  };
}
