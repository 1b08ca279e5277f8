/** The mesh of this node: a session with each configured peer, dialled by us or awaited. */
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { Accord } from '../../protocol/posture/index.ts';
import type { Clock } from '../base/clock.ts';
import type { MeshPeerConfig } from '../base/config.ts';
import type { Logger } from '../base/logger.ts';
import type { SessionDirectory } from '../enforcer/directory.ts';
import type { PostureReader, SessionId } from '../enforcer/ports.ts';
import type { Approach } from '../enforcer/terminator-port.ts';
import { DialledPeer } from './peer.ts';

export interface MeshParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly posture: PostureReader;
  readonly accord: Accord;
  readonly directory: SessionDirectory;
  readonly isHeld: (peer: SpiffeId) => boolean;
  readonly random: () => number;
  readonly peers: readonly MeshPeerConfig[];
  /** Opens a session at an endpoint for an approach; the session stands when it resolves. */
  readonly dial: (
    endpoint: { readonly host: string; readonly port: number },
    approach: Approach,
    signal: AbortSignal,
  ) => Promise<SessionId>;
  readonly approachOf: (peer: MeshPeerConfig) => Approach;
}

export interface MeshPeer {
  readonly name: string;
  readonly spiffeId: SpiffeId;
  readonly address: { readonly host: string; readonly port: number } | undefined;
  /** Undefined: the peer dials us. */
  readonly dialled: DialledPeer | undefined;
}

export class Mesh implements AsyncDisposable {
  readonly peers: readonly MeshPeer[];
  readonly #subscription: Disposable;

  constructor(parts: MeshParts) {
    this.peers = parts.peers.map((config) => {
      const { name, spiffeId, address } = config;
      if (address === undefined) return { name, spiffeId, address, dialled: undefined };
      const { clock, log, posture, accord, random, directory } = parts;
      const dial = async (signal: AbortSignal): Promise<SessionId> => {
        // One that outlived a former enforcer is what a new one would only take the place of.
        const standing = directory.tunnelOf(spiffeId);
        if (standing?.role === 'initiator') return standing.admission.id;
        return await parts.dial(address, parts.approachOf(config), signal);
      };
      const stands = (id: SessionId): boolean => directory.get(id) !== undefined;
      const isHeld = (): boolean => parts.isHeld(spiffeId);
      const dialled = new DialledPeer({ name, clock, log, posture, accord, random, isHeld, dial, stands });
      return { name, spiffeId, address, dialled };
    });
    this.#subscription = parts.directory.onEvent((event) => {
      if (event.kind !== 'ended') return;
      for (const { dialled } of this.peers) dialled?.ended(event.standing.admission.id);
    });
  }

  start(): void {
    for (const { dialled } of this.peers) dialled?.start();
  }

  /** The posture rose, a site was released, or the network is back: whoever waits tries now. */
  nudge(): void {
    for (const { dialled } of this.peers) dialled?.nudge();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    await Promise.all(this.peers.map(({ dialled }) => dialled?.stop()));
  }
}
