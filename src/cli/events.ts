/** `shellstream events`: what happens at a gateway, as it happens, until interrupted. */
import type { Command } from 'commander';
import { assertNever } from '../../protocol/errors.ts';
import { formatAddress } from '../../protocol/net/address.ts';
import type { WatchedEvent } from '../control/ports.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { duration, endpoint, isoTime, json, printable, protocolName } from './output.ts';
import type { CliWorld } from './world.ts';

export function addEvents(program: Command, world: CliWorld): void {
  asksGateway(program.command('events'))
    .description('sessions, denials, posture changes, drains and holds as they happen; with --json one object a line')
    .action((options: ConsoleOptions) =>
      withGateway(world, options, async (gateway) => {
        const leave = (): void => gateway[Symbol.dispose]();
        if (world.interrupted.aborted) return;
        world.interrupted.addEventListener('abort', leave, { once: true });
        for await (const event of gateway.watch()) {
          const line = options.json ? json(plain(event)) : `${isoTime(event.atMs)}  ${printable(sentence(event))}\n`;
          world.out.write(line);
        }
      }),
    );
}

function sentence(event: WatchedEvent): string {
  switch (event.kind) {
    case 'session-opened': {
      const { id, role, peer, type, mode, effectiveLevel, governedBy } = event.session;
      return `session ${id} opened as ${role}: ${type} ${mode} with ${peer} at level ${effectiveLevel} by ${governedBy}`;
    }
    case 'session-ended':
      return `session ${event.id} ended by ${event.byPeer ? 'the peer' : 'this side'}: ${event.reason} (${event.peer})`;
    case 'denied': {
      const { cause, direction, protocol, source, sourcePort, destination, destinationPort, ifindex } = event.denial;
      const way = `${endpoint(source, sourcePort)} to ${endpoint(destination, destinationPort)}`;
      return `denied ${cause}: ${protocolName(protocol)} ${way}, ${direction} on interface ${ifindex}`;
    }
    case 'posture-changed':
      return `posture ${event.from} to ${event.to} by ${event.source}: ${event.reason} (epoch ${event.epoch})`;
    case 'drain-received': {
      const level = event.level === undefined ? '' : `, the peer is at level ${event.level}`;
      const end = event.deadlineMs === 0 ? 'now' : `within ${duration(event.deadlineMs)}`;
      return `session ${event.id} drained by ${event.peer}: ${event.reason}${level}; it ends ${end}`;
    }
    case 'held':
      return `${event.peer} is held by ${event.cause}: ${event.reason} (hold ${event.id})`;
    case 'released':
      return `${event.peer} is released by ${event.by} (hold ${event.id})`;
    case 'lost':
      return `${event.events} events were left out: this console reads too slowly`;
    default:
      return assertNever(event);
  }
}

function plain(event: WatchedEvent): unknown {
  if (event.kind !== 'denied') return event;
  const { source, destination } = event.denial;
  return {
    ...event,
    denial: { ...event.denial, source: formatAddress(source), destination: formatAddress(destination) },
  };
}
