/**
 * A gateway in one process: an enforcer with one terminator beside it. What a gateway needs of the world comes in as
 * `GatewayWorld`; in memory this is the whole gateway, on a host `run-gateway.ts` gives each half a process of its own.
 */
import type { LocalEnforcer } from '../enforcer/enforcer.ts';
import { type Carrier, webSocketCarrier } from '../link/index.ts';
import type { SessionRegistry } from '../session/registry.ts';
import { type EnforcerNode, type EnforcerWorld, startEnforcer } from './enforcer.ts';
import { type LocalTerminator, startTerminator } from './terminator.ts';

export interface GatewayWorld extends EnforcerWorld {
  /** WebSockets unless told. */
  readonly carrier?: Carrier;
}

/** Disposing ends its sessions and leaves nothing behind. */
export interface Gateway extends EnforcerNode {
  readonly port: number;
  readonly registry: SessionRegistry;
  readonly terminator: LocalTerminator;
  /** The terminator's door to the node. */
  readonly enforcer: LocalEnforcer;
}

export async function startGateway(world: GatewayWorld): Promise<Gateway> {
  const { config, accord, crypto, clock, log, carrier = webSocketCarrier } = world;
  await using parts = new AsyncDisposableStack();
  const node = await startEnforcer(world);
  // Sessions are drained by the enforcer while the terminator still lives, and what they held goes before it does.
  const engaged = await node
    .hire((enforcer) =>
      startTerminator({
        settings: { listen: config.listen, limits: config.limits, accord: accord.accord, posture: node.posture },
        enforcer,
        carrier,
        crypto,
        clock,
        log,
      }),
    )
    .catch(async (error: unknown) => {
      await node[Symbol.asyncDispose]();
      throw error;
    });
  const { terminator } = engaged;
  parts.use(terminator);
  parts.use(engaged);
  parts.use(node);
  node.mesh.start();
  log.info('gateway started', {
    port: terminator.port,
    interface: node.overlay?.device.name,
    level: node.posture.level,
  });
  const owned = parts.move();
  return {
    ...node,
    terminator,
    enforcer: engaged.enforcer,
    port: terminator.port,
    registry: terminator.registry,
    async [Symbol.asyncDispose]() {
      await owned.disposeAsync();
      log.info('gateway stopped', {});
    },
  };
}
