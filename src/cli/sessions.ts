/** `shellstream sessions list|show|drain|end`. */
import type { Command } from 'commander';
import { type GrantedTarget, SESSION_TYPES, type SessionType } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatPrefix } from '../../protocol/net/prefix.ts';
import { SESSION_STATES, type SessionDetail, type SessionState, type SessionView } from '../control/ports.ts';
import { milliseconds, oneOf, spiffeId } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { duration, json, pairs, protocolName, table } from './output.ts';
import type { CliWorld } from './world.ts';

interface ListOptions extends ConsoleOptions {
  readonly peer?: string;
  readonly type?: SessionType;
  readonly state?: SessionState;
}

export function addSessions(program: Command, world: CliWorld): void {
  const sessions = program.command('sessions').description('list, show, drain and end sessions');

  asksGateway(sessions.command('list'))
    .description('live sessions')
    .option('--peer <spiffe-id>', 'only with this peer', spiffeId)
    .option('--type <type>', `only of this type: ${SESSION_TYPES.join(', ')}`, oneOf(SESSION_TYPES))
    .option('--state <state>', `only in this state: ${SESSION_STATES.join(', ')}`, oneOf(SESSION_STATES))
    .action(({ peer, type, state, ...options }: ListOptions) =>
      withGateway(world, options, async (gateway) => {
        const found = await gateway.sessions({ peer, type, state });
        world.out.write(options.json ? json({ sessions: found }) : list(found, world.clock.now()));
      }),
    );

  asksGateway(sessions.command('show'))
    .description('one session, with its targets, counters, tunnel and streams')
    .argument('<id>')
    .action((id: string, options: ConsoleOptions) =>
      withGateway(world, options, async (gateway) => {
        const session = await gateway.session(id);
        if (session === undefined) throw unknown(id);
        world.out.write(options.json ? json(plain(session)) : show(session, world.clock.now()));
      }),
    );

  asksGateway(sessions.command('drain'))
    .description('let what runs finish, then end the session')
    .argument('<id>')
    .option('--deadline <time>', 'end it after this time at the latest', milliseconds, 30_000)
    .action((id: string, options: ConsoleOptions & { readonly deadline: number }) =>
      withGateway(world, options, async (gateway) => {
        if (!(await gateway.drain(id, options.deadline))) throw unknown(id);
        const said = `draining ${id}, it ends within ${duration(options.deadline)}\n`;
        world.out.write(options.json ? json({ id, draining: true, deadlineMs: options.deadline }) : said);
      }),
    );

  asksGateway(sessions.command('end'))
    .description('end a session at once')
    .argument('<id>')
    .option('--reason <words>', 'why; goes to log and evidence', '')
    .action((id: string, options: ConsoleOptions & { readonly reason: string }) =>
      withGateway(world, options, async (gateway) => {
        if (!(await gateway.end(id, options.reason))) throw unknown(id);
        world.out.write(options.json ? json({ id, ended: true }) : `ended ${id}\n`);
      }),
    );
}

function unknown(id: string): ShellstreamError {
  return new ShellstreamError('CLOSED', `there is no live session ${JSON.stringify(id)}`);
}

function list(sessions: readonly SessionView[], nowMs: number): string {
  if (sessions.length === 0) return 'no live sessions\n';
  return table(
    ['ID', 'PEER', 'ROLE', 'TYPE', 'MODE', 'STATE', 'LEVEL', 'OPEN FOR', 'EXPIRES IN'],
    sessions.map((session) => [
      session.id,
      session.peer,
      session.role,
      session.type,
      session.mode,
      session.state,
      `${session.effectiveLevel} by ${session.governedBy}`,
      duration(nowMs - session.openedAtMs),
      duration(session.expiresAtMs - nowMs),
    ]),
  );
}

function show(session: SessionDetail, nowMs: number): string {
  const { counters, tunnel } = session;
  const facts: (readonly [string, string])[] = [
    ['session', session.id],
    ['peer', session.peer],
    ['role', `${session.role} of ${session.type}, ${session.mode}, ${session.state}`],
    ['tier', session.tier ?? 'not known here'],
    ['capabilities', session.capabilities.join(' ')],
    ['level', `${session.effectiveLevel} by ${session.governedBy}; the peer is at ${session.peerLevel}`],
    ['open for', duration(nowMs - session.openedAtMs)],
    ['expires in', duration(session.expiresAtMs - nowMs)],
    ['passed', `${counters.packets} packets, ${counters.bytes} bytes; ${counters.denied} denied`],
  ];
  if (tunnel !== undefined) {
    const age =
      tunnel.handshakeAgeMs === undefined ? 'no handshake yet' : `handshake ${duration(tunnel.handshakeAgeMs)} ago`;
    facts.push([
      'tunnel',
      `${age}, ${tunnel.carried ? 'carried in the session' : (tunnel.endpoint ?? 'endpoint not learnt')}, ${tunnel.receivedBytes} bytes in, ${tunnel.sentBytes} out`,
    ]);
  }
  const streams = table(
    ['STREAM', 'TARGET', 'OPENED BY', 'OPEN FOR', 'BYTES IN', 'BYTES OUT'],
    session.streams.map((stream) => [
      String(stream.id),
      stream.target,
      stream.openedBy,
      duration(nowMs - stream.openedAtMs),
      String(stream.receivedBytes),
      String(stream.sentBytes),
    ]),
  );
  return [
    pairs(facts),
    targetTable('TARGET', session.targets),
    ...(session.offered === undefined ? [] : [targetTable('OFFERED BY THE INITIATOR', session.offered)]),
    ...(session.streams.length > 0 ? [streams] : []),
  ].join('\n');
}

function targetTable(heading: string, targets: readonly GrantedTarget[]): string {
  return table(
    [heading, 'PROTOCOL', 'PORT', 'CLASS', 'FLOWS DOWN TO LEVEL'],
    targets.map((target) => [
      formatPrefix(target.prefix),
      protocolName(target.protocol),
      target.port === 0 ? 'any' : String(target.port),
      target.class,
      String(target.floor),
    ]),
  );
}

function plain(session: SessionDetail): unknown {
  const asText = ({ prefix, ...target }: GrantedTarget) => ({ prefix: formatPrefix(prefix), ...target });
  const { targets, offered = [] } = session;
  return { ...session, targets: targets.map(asText), offered: offered.map(asText) };
}
