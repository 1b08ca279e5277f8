/**
 * `shellstream connect`: a governed TCP forward. Opens a session with a gateway, says what was granted and by whose
 * posture, and carries each local connection to the target as a stream of that session, for as long as it lives.
 */
import { type Command, Option } from 'commander';
import {
  CAPABILITIES,
  type Capability,
  SESSION_TYPES,
  type SessionType,
  type Target,
} from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { NORMAL, type PostureLevel } from '../../protocol/posture/level.ts';
import {
  collected,
  dialled,
  type HostPort,
  loopback,
  oneOf,
  postureLevel,
  socketPath,
  spiffeId,
  tcpTarget,
} from './arguments.ts';
import { type Forward, forward } from './forward.ts';
import { endpoint, isoTime, json, printable } from './output.ts';
import type { ConnectedSession, ConnectRequest, IdentityPlace, SessionNotice } from './session-port.ts';
import type { CliWorld } from './world.ts';

interface Options {
  readonly config?: string;
  readonly workloadApi?: string;
  readonly gateway: HostPort;
  readonly gatewayId: string;
  readonly type: SessionType;
  readonly capability?: readonly Capability[];
  readonly target?: Target;
  readonly listen: HostPort;
  readonly posture: PostureLevel;
  readonly ping?: boolean;
  readonly json?: boolean;
}

export function addConnect(program: Command, world: CliWorld): void {
  const command: Command = program
    .command('connect')
    .description('open a session with a gateway and forward a local TCP port through it')
    .addOption(
      new Option('--config <file>', "identity and accord of a gateway's configuration").conflicts('workloadApi'),
    )
    .option('--workload-api <socket>', 'identity from this Workload API; else from SPIFFE_ENDPOINT_SOCKET', socketPath)
    .requiredOption('--gateway <host:port>', 'the gateway to dial', dialled)
    .requiredOption('--gateway-id <spiffe-id>', 'whom it must prove to be, before any token is sent', spiffeId)
    .option('--type <type>', `session type: ${SESSION_TYPES.join(', ')}`, oneOf(SESSION_TYPES), 'operator')
    .option(
      '--capability <name>',
      `capability to ask for, repeatable: ${CAPABILITIES.join(', ')} (default: CONNECT with a target, else OBSERVE)`,
      collected(oneOf(CAPABILITIES)),
    )
    .option('--target <tcp://address:port>', 'what the forwarded connections reach', tcpTarget)
    .addOption(
      new Option('--listen <host:port>', 'local loopback address; port 0: any')
        .argParser(loopback)
        .default({ host: '127.0.0.1', port: 0 }, '127.0.0.1:0'),
    )
    .option('--posture <level>', 'the level this side says it is at', postureLevel, NORMAL)
    .option('--ping', 'open, print the grant and the round trip, close')
    .option('--json', 'print JSON, one object a line')
    .action((options: Options) => connect(command, world, options));
}

async function connect(command: Command, world: CliWorld, options: Options): Promise<void> {
  const { target } = options;
  if (target === undefined && !options.ping) command.error("error: option '--target' is needed, or '--ping'");
  const session = await world.connectSession(request(command, world, options), world.interrupted);
  await using open = session;
  const say = (fact: Fact): void => world.out.write(options.json ? json(fact) : sentence(fact));
  say(grantOf(open));
  if (options.ping) {
    say({ roundTripMs: await open.ping() });
    return;
  }
  if (target === undefined) return;

  using _notices = open.onNotice((notice) => say({ notice }));
  await using local = await forward(open, target, options.listen, (reason) => {
    world.err.write(`shellstream: a connection was not carried: ${reason}\n`);
  });
  say({ listening: `${local.host}:${local.port}` });
  await untilEnd(open, local, world.interrupted);
}

function request(command: Command, world: CliWorld, options: Options): ConnectRequest {
  const { target, capability } = options;
  return {
    identity: identityPlace(command, world, options),
    gateway: options.gateway,
    gatewayId: options.gatewayId,
    type: options.type,
    mode: 'overlay',
    capabilities: capability === undefined ? [target === undefined ? 'OBSERVE' : 'CONNECT'] : [...new Set(capability)],
    targets: target === undefined ? [] : [target],
    posture: options.posture,
  };
}

function identityPlace(command: Command, world: CliWorld, { config, workloadApi }: Options): IdentityPlace {
  if (config !== undefined) return { kind: 'config', path: config };
  if (workloadApi !== undefined) return { kind: 'workload-api', socket: workloadApi };
  const named = world.environment.SPIFFE_ENDPOINT_SOCKET;
  if (named !== undefined && named !== '') return { kind: 'workload-api', socket: socketPath(named) };
  return command.error("error: one of '--config', '--workload-api' and SPIFFE_ENDPOINT_SOCKET must say who we are");
}

/** Resolves when the operator interrupts; rejects with the reason when the session ends first. */
async function untilEnd(session: ConnectedSession, local: Forward, interrupted: AbortSignal): Promise<void> {
  const leave = Promise.withResolvers<'interrupted'>();
  const onAbort = (): void => leave.resolve('interrupted');
  interrupted.addEventListener('abort', onAbort, { once: true });
  if (interrupted.aborted) onAbort();
  const first = await Promise.race([leave.promise, session.ended, local.failed]);
  interrupted.removeEventListener('abort', onAbort);
  if (first === 'interrupted') return;
  throw new ShellstreamError(first.reason, first.byPeer ? 'the gateway ended the session' : 'the session ended here');
}

/** One thing that `connect` has to say; with --json these are the lines. */
type Fact =
  | { readonly grant: Grant }
  | { readonly roundTripMs: number }
  | { readonly listening: string }
  | { readonly notice: SessionNotice };

interface Grant {
  readonly session: string;
  readonly spiffeId: string;
  readonly mode: string;
  readonly capabilities: readonly string[];
  readonly targets: readonly string[];
  readonly effectiveLevel: PostureLevel;
  readonly governedBy: string;
  readonly expiresAtMs: number;
}

function grantOf(session: ConnectedSession): { readonly grant: Grant } {
  const { id, spiffeId, mode, capabilities, effectiveLevel, governedBy, expiresAtMs } = session;
  const targets = session.targets.map(({ prefix, port }) => `tcp://${endpoint(prefix.address, port)}`);
  return {
    grant: { session: id, spiffeId, mode, capabilities, targets, effectiveLevel, governedBy, expiresAtMs },
  };
}

function sentence(fact: Fact): string {
  if ('grant' in fact) {
    const { grant } = fact;
    return [
      `session ${grant.session} as ${grant.spiffeId}`,
      `granted: ${grant.mode}, ${grant.capabilities.join(' ')}${grant.targets.map((target) => `, ${target}`).join('')}`,
      `level ${grant.effectiveLevel}, by ${GOVERNORS[grant.governedBy] ?? grant.governedBy}; until ${isoTime(grant.expiresAtMs)}`,
    ]
      .map((line) => `${printable(line)}\n`)
      .join('');
  }
  if ('roundTripMs' in fact) return `round trip ${fact.roundTripMs.toFixed(1)} ms\n`;
  if ('listening' in fact) return `listening on ${fact.listening}\n`;
  return noticeSentence(fact.notice);
}

function noticeSentence(notice: SessionNotice): string {
  switch (notice.kind) {
    case 'level':
      return `level ${notice.effectiveLevel}, by ${GOVERNORS[notice.governedBy]}\n`;
    case 'draining':
      return `draining: ${notice.reason}; the session ends within ${notice.deadlineMs} ms\n`;
    case 'attested-again':
      return `attested again; until ${isoTime(notice.expiresAtMs)}\n`;
  }
}

const GOVERNORS: Readonly<Record<string, string>> = {
  local: "this side's posture",
  peer: "the gateway's posture",
  both: 'the posture of both sides',
};
