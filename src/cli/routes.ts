/** `shellstream routes`: governed routes of the physical network, changes of them, and proposals. */
import { type Command, InvalidArgumentError } from 'commander';
import { type Prefix, TARGET_CLASSES, type TargetClass, TIERS, type Tier } from '../../protocol/capability/model.ts';
import { tryParseAddress } from '../../protocol/net/address.ts';
import { formatPrefix, parsePrefix } from '../../protocol/net/prefix.ts';
import {
  MAIN_TABLE,
  ROUTE_ACTIONS,
  type RouteAction,
  type RouteChange,
  type RouteSpec,
  routeWords,
} from '../../protocol/routes/index.ts';
import type { RoutesView } from '../control/route-desk.ts';
import type { Proposal } from '../underlay/ports.ts';
import { milliseconds, oneOf, spiffeId } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { isoTime, json, pairs, table } from './output.ts';
import type { CliWorld } from './world.ts';

interface RouteOptions extends ConsoleOptions {
  readonly dev: string;
  readonly via?: Uint8Array;
  readonly table: number;
  readonly metric?: number;
  readonly class: TargetClass;
  readonly reason: string;
}

interface ProposeOptions extends RouteOptions {
  readonly action: RouteAction;
  readonly token?: string;
}

interface TokenOptions extends ConsoleOptions {
  readonly for: string;
  readonly tier: Tier;
  readonly valid: number;
}

export function addRoutes(program: Command, world: CliWorld): void {
  const routes = program.command('routes').description('governed routes: see, change, propose');

  asksGateway(routes.command('list'))
    .description('recorded routes, what of them the level leaves, what differs in the kernel, and proposals')
    .action((options: ConsoleOptions) =>
      withGateway(world, options, async ({ underlay }) => {
        const view = await underlay.list();
        const proposals = await underlay.proposals();
        world.out.write(options.json ? json(plain(view, proposals)) : report(view, proposals));
      }),
    );

  for (const [verb, action, what] of [
    ['apply', 'add', 'put a route in place at once'],
    ['remove', 'remove', 'take a governed route away at once'],
  ] as const) {
    namesRoute(asksGateway(routes.command(verb)))
      .description(what)
      .action((prefix: Prefix, options: RouteOptions, command: Command) => {
        const change = changeOf(action, prefix, options, command);
        return withGateway(world, options, async ({ underlay }) => {
          await underlay.change(change);
          const said = `${action === 'add' ? 'in place' : 'removed'}: ${routeWords(change.route)}\n`;
          world.out.write(options.json ? json({ action, route: routeWords(change.route) }) : said);
        });
      });
  }

  namesRoute(asksGateway(routes.command('propose')))
    .description('queue a change for a master or site_owner to decide on')
    .option('--action <action>', ROUTE_ACTIONS.join(' or '), oneOf(ROUTE_ACTIONS), 'add')
    .option('--token <token>', 'a request token, good for one proposal; without: as yourself')
    .action((prefix: Prefix, options: ProposeOptions, command: Command) => {
      const change = changeOf(options.action, prefix, options, command);
      return withGateway(world, options, async ({ underlay }) => {
        const own = { subject: undefined, tier: 'site_owner', validMs: OWN_TOKEN_MS } as const;
        const token = options.token ?? (await underlay.issueToken(own));
        const id = await underlay.propose(token, change);
        world.out.write(options.json ? json({ proposal: id }) : `proposed: ${id}\n`);
      });
    });

  asksGateway(routes.command('token'))
    .description('a request token: whoever holds it may hand in one proposal as that identity')
    .requiredOption('--for <spiffe-id>', 'whose proposal it will be', spiffeId)
    .requiredOption('--tier <tier>', TIERS.join(', '), oneOf(TIERS))
    .option('--valid <time>', 'for how long, at most 1d', milliseconds, 600_000)
    .action((options: TokenOptions) =>
      withGateway(world, options, async ({ underlay }) => {
        const { for: subject, tier, valid: validMs } = options;
        const token = await underlay.issueToken({ subject, tier, validMs });
        world.out.write(options.json ? json({ token }) : `${token}\n`);
      }),
    );

  asksGateway(routes.command('approve'))
    .description('carry a proposal out')
    .argument('<proposal>')
    .action((proposal: string, options: ConsoleOptions) =>
      withGateway(world, options, async ({ underlay }) => {
        await underlay.approve(proposal);
        world.out.write(options.json ? json({ proposal, state: 'done' }) : `carried out: ${proposal}\n`);
      }),
    );

  asksGateway(routes.command('reject'))
    .description('refuse a proposal for good')
    .argument('<proposal>')
    .requiredOption('--reason <words>', 'why; its proposer may see it')
    .action((proposal: string, options: ConsoleOptions & { readonly reason: string }) =>
      withGateway(world, options, async ({ underlay }) => {
        await underlay.reject(proposal, options.reason);
        world.out.write(options.json ? json({ proposal, state: 'rejected' }) : `rejected: ${proposal}\n`);
      }),
    );
}

/** For the moment between asking for it and using it. */
const OWN_TOKEN_MS = 60_000;

function namesRoute(command: Command): Command {
  return command
    .argument('<prefix>', 'where it leads: 10.5.0.0/24, fd00:5::/48', routePrefix)
    .requiredOption('--dev <interface>', 'the link that it leaves by', linkName)
    .option('--via <address>', 'the next hop; without: the destination is on the link', address)
    .option('--table <number>', 'routing table', number, MAIN_TABLE)
    .option('--metric <number>', "without: the kernel's default", number)
    .option('--class <class>', `what it leads to: ${TARGET_CLASSES.join(', ')}`, oneOf(TARGET_CLASSES), 'ordinary')
    .requiredOption('--reason <words>', 'why; goes to log and evidence');
}

function changeOf(action: RouteAction, destination: Prefix, options: RouteOptions, command: Command): RouteChange {
  const { dev: link, via: gateway, table, metric, class: targetClass, reason } = options;
  const route: RouteSpec = { destination, link, gateway, table, metric };
  if (gateway !== undefined && gateway.length !== destination.address.length) {
    command.error('error: --via is an address of the same family as the prefix');
  }
  return { action, route, class: targetClass, reason };
}

function report(view: RoutesView, proposals: readonly Proposal[]): string {
  const rows = view.routes.map(({ route, class: targetClass, owner, stays, state }) => [
    routeWords(route),
    targetClass,
    owner.subject,
    owner.tier,
    state === 'standing' ? (stays ? 'stands' : `not at level ${view.level}`) : state,
  ]);
  const parts = [
    pairs([
      ['level', String(view.level)],
      ['snapshot', view.snapshotAtMs === undefined ? 'none: level 5 holds' : isoTime(view.snapshotAtMs)],
      ...(view.problem === undefined ? [] : [['problem', view.problem] as const]),
    ]),
    table(['ROUTE', 'CLASS', 'OWNER', 'TIER', 'STATE'], rows),
  ];
  if (view.differences.length > 0) {
    const differing = view.differences.map(({ kind, route }) => [routeWords(route), kind]);
    parts.push(table(['DIFFERS', 'HOW'], differing));
  }
  if (proposals.length > 0) {
    const proposed = proposals.map(({ id, change, proposer, state }) => [
      id,
      `${change.action} ${routeWords(change.route)}`,
      proposer.subject,
      proposer.tier,
      state,
    ]);
    parts.push(table(['PROPOSAL', 'CHANGE', 'PROPOSER', 'TIER', 'STATE'], proposed));
  }
  return parts.join('\n');
}

function plain(view: RoutesView, proposals: readonly Proposal[]) {
  return {
    ...view,
    routes: view.routes.map((record) => ({ ...record, route: plainRoute(record.route) })),
    differences: view.differences.map(({ kind, route }) => ({ kind, route: plainRoute(route) })),
    proposals: proposals.map((proposal) => ({
      ...proposal,
      change: { ...proposal.change, route: plainRoute(proposal.change.route) },
    })),
  };
}

function plainRoute(route: RouteSpec) {
  return { prefix: formatPrefix(route.destination), dev: route.link, words: routeWords(route) };
}

function routePrefix(text: string): Prefix {
  try {
    return parsePrefix(text);
  } catch {
    throw new InvalidArgumentError('A prefix without host bits is expected: 10.5.0.0/24, fd00:5::/48.');
  }
}

function linkName(text: string): string {
  if (!/^[a-zA-Z0-9._-]{1,15}$/.test(text)) throw new InvalidArgumentError('An interface name is expected.');
  return text;
}

function address(text: string): Uint8Array {
  const bytes = tryParseAddress(text);
  if (bytes === undefined) throw new InvalidArgumentError('An IP address is expected.');
  return bytes;
}

function number(text: string): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 4_294_967_295) throw new InvalidArgumentError('A number from 1 to 4294967295 is expected.');
  return value;
}
