/**
 * A gateway without a kernel and without processes: its enforcer and one terminator in this one, with the border between
 * them as it is between processes, so that every word passes the codec.
 */

import { Descriptors } from '../../src/base/descriptors.ts';
import type { LocalEnforcer } from '../../src/enforcer/enforcer.ts';
import { type Carrier, memoryLinkPair } from '../../src/link/index.ts';
import { type EnforcerNode, startEnforcer } from '../../src/roots/enforcer.ts';
import type { EnforcerWorld } from '../../src/roots/enforcer-world.ts';
import type { LocalTerminator } from '../../src/roots/terminator.ts';
import { engage } from '../../src/roots/terminator-host.ts';
import { serveEnforcer } from '../../src/roots/terminator-process.ts';
import type { SessionRegistry } from '../../src/session/registry.ts';

export interface MemoryGatewayWorld extends EnforcerWorld {
  readonly carrier: Carrier;
}

/** Disposing ends its sessions and leaves nothing behind. */
export interface MemoryGateway extends EnforcerNode {
  readonly terminator: LocalTerminator;
  readonly registry: SessionRegistry;
  /** The terminator's door to the node. */
  readonly enforcer: LocalEnforcer;
}

export async function startMemoryGateway(world: MemoryGatewayWorld): Promise<MemoryGateway> {
  const { crypto, clock, log, carrier } = world;
  await using parts = new AsyncDisposableStack();
  const node = await startEnforcer(world);
  const links = memoryLinkPair({ clock });
  const serving = serveEnforcer({
    link: links.initiator,
    carrier,
    descriptors: new Descriptors(65_536),
    crypto,
    clock,
    log,
    onLost: () => undefined,
  });
  const engaged = await engage(node, links.responder, () => undefined);
  const terminator = await serving;
  parts.use(terminator);
  parts.defer(() => engaged.terminator.close());
  parts.use(engaged);
  parts.use(node);
  node.mesh.start();
  const owned = parts.move();
  return {
    ...node,
    terminator,
    enforcer: engaged.enforcer,
    registry: terminator.registry,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
