/** The people of site-a who hold sessions at site-b, in one process in site-a's network. */
import { fileURLToPath } from 'node:url';
import type { Capability, Mode, SessionType } from '../../protocol/capability/model.ts';
import type { Site } from '../lab/site.ts';
import type { Running } from '../support/processes.ts';

export interface Opening {
  /** Of the session, among the crowd's. */
  readonly name: string;
  readonly workloadApi: string;
  readonly type: SessionType;
  readonly mode: Mode;
  readonly capabilities: readonly Capability[];
  readonly targets: readonly Place[];
}

/** TCP. */
export interface Place {
  readonly address: string;
  readonly port: number;
}

/** What became of a session so far, as its own end saw it. */
export interface Fate {
  /** Reason and deadline in milliseconds of each DRAIN. */
  readonly drains: readonly string[];
  /** How often it has attested. */
  readonly attestations: number;
  /** Reason, and by whom; undefined: it lives. */
  readonly end: string | undefined;
}

export type Order =
  | { readonly do: 'open'; readonly openings: readonly Opening[] }
  | { readonly do: 'fates' }
  | { readonly do: 'begin'; readonly name: string; readonly target: Place }
  | { readonly do: 'finish'; readonly name: string };

const PROGRAM = fileURLToPath(new URL('children/crowd.ts', import.meta.url));
/** Two hundred sessions are opened by one order. */
const ANSWER_MS = 150_000;

export class Crowd implements AsyncDisposable {
  readonly #process: Running;
  #orders = 0;

  constructor(site: Site, gateway: Place, gatewayId: string) {
    this.#process = site.inside(process.execPath, [PROGRAM, gateway.address, String(gateway.port), gatewayId]);
  }

  /** By name: the capabilities that were granted, or the reason of the refusal. */
  async open(openings: readonly Opening[]): Promise<ReadonlyMap<string, string>> {
    return new Map(Object.entries(await this.#ask<Record<string, string>>({ do: 'open', openings })));
  }

  /** Of all sessions that were ever granted, by name. */
  async fates(): Promise<ReadonlyMap<string, Fate>> {
    return new Map(Object.entries(await this.#ask<Record<string, Fate>>({ do: 'fates' })));
  }

  /** Opens a stream of that session, one at a time: what the target says first, or the reason of the refusal. */
  begin(name: string, target: Place): Promise<string> {
    return this.#ask({ do: 'begin', name, target });
  }

  /** Says a last word on that stream: what came back until its end. */
  finish(name: string): Promise<string> {
    return this.#ask({ do: 'finish', name });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  async #ask<Answer>(order: Order): Promise<Answer> {
    this.#orders += 1;
    const heading = `${this.#orders} `;
    this.#process.write(`${heading}${JSON.stringify(order)}\n`);
    const line = await this.#process.line(new RegExp(`^${heading}`), ANSWER_MS);
    return JSON.parse(line.slice(heading.length));
  }
}
