/**
 * `shellstream revoke` and `shellstream revocations`: statements are signed here, with a key that the gateway need not
 * have, and take effect where they are handed in and wherever its feed is followed.
 */
import { type Command, InvalidArgumentError } from 'commander';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { isTrustDomain, parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { type Revoked, type Statement, signStatement } from '../../protocol/revocation/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { ControlClient } from '../control/client.ts';
import { createRevocationKey, loadRevocationKey } from '../identity/revocation-keys.ts';
import { spiffeId } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { duration, isoTime, json, pairs, table } from './output.ts';
import type { CliWorld } from './world.ts';

interface RevokeOptions extends ConsoleOptions {
  readonly key: string;
  readonly reason: string;
}

interface BeforeOptions extends RevokeOptions {
  readonly identity?: SpiffeId;
  readonly trustDomain?: string;
}

export function addRevoke(program: Command, world: CliWorld): void {
  const revoke = program
    .command('revoke')
    .description('take back a session, an identity, a token, or all credentials issued before a time');
  const signs = (command: Command): Command =>
    asksGateway(command)
      .option('--key <file>', "the issuer's key, see `revoke keygen`", DEFAULT_KEY)
      .requiredOption('--reason <words>', 'why; part of the statement, seen by everybody who has the feed');
  const order = (options: RevokeOptions, what: Revoked) => handIn(world, options, what);

  signs(revoke.command('session'))
    .description('end one session; its peer may open another')
    .argument('<id>', '32 hex digits, as `sessions list` shows them', hex(32))
    .action((session: string, options: RevokeOptions) => order(options, { kind: 'session', session }));

  signs(revoke.command('identity'))
    .description('end every session of an identity, and let it open none any more')
    .argument('<spiffe-id>', 'of the peer', spiffeId)
    .action((identity: SpiffeId, options: RevokeOptions) => order(options, { kind: 'identity', identity }));

  signs(revoke.command('token'))
    .description('end whatever was granted on a shell attestation token')
    .argument('<id>', 'SHA-256 of its signing input, 64 hex digits', hex(64))
    .action((token: string, options: RevokeOptions) => order(options, { kind: 'token', token }));

  signs(revoke.command('issued-before'))
    .description('end whatever stands on an SVID or a token that is older; newly issued ones count')
    .argument('<time>', 'as 2026-01-31T12:00:00Z, or now', moment(world))
    .option('--identity <spiffe-id>', 'of this identity', spiffeId)
    .option('--trust-domain <name>', 'of everybody of this trust domain', trustDomain)
    .action((timeMs: number, options: BeforeOptions) => {
      const { identity, trustDomain: domain } = options;
      if (identity !== undefined && domain === undefined) {
        return order(options, { kind: 'issued-before', timeMs, of: { identity } });
      }
      if (identity === undefined && domain !== undefined) {
        return order(options, { kind: 'issued-before', timeMs, of: { trustDomain: domain } });
      }
      throw new ShellstreamError('MALFORMED', 'one of --identity and --trust-domain is expected');
    });

  revoke
    .command('keygen')
    .description('make a key for an issuer of revocations, and print what gateways have to know of it')
    .requiredOption('--issuer <spiffe-id>', 'its name, of its own trust domain: spiffe://DOMAIN/revocation', spiffeId)
    .option('--out <file>', 'where the private key goes; must not be there yet', DEFAULT_KEY)
    .option('--json', 'print JSON')
    .action(async ({ issuer, out, json: asJson }: { issuer: SpiffeId; out: string; json?: boolean }) => {
      const publicKey = await createRevocationKey(out, issuer, nodeCrypto.randomBytes);
      const entry = `revocation:\n  keys:\n    - issuer: ${issuer}\n      publicKey: ${publicKey}\n`;
      world.out.write(asJson ? json({ issuer, publicKey, file: out }) : entry);
    });
}

export function addRevocations(program: Command, world: CliWorld): void {
  const revocations = program.command('revocations').description('what was revoked, and how recent that is');
  asksGateway(revocations.command('list'))
    .description('issuers with the state of their feeds, and every statement that is in effect')
    .action((options: ConsoleOptions) =>
      withGateway(world, options, async (gateway) => {
        const view = await gateway.revocations.list();
        world.out.write(options.json ? json(view) : report(view, world.clock.now()));
      }),
    );
}

/** Its number is the gateway's last and one: an issuer signs at one gateway, or two statements get one number. */
async function handIn(world: CliWorld, options: RevokeOptions, what: Revoked): Promise<void> {
  const key = await loadRevocationKey(options.key);
  await withGateway(world, options, async (gateway) => {
    const { issuers } = await gateway.revocations.list();
    const known = issuers.find(({ issuer }) => issuer === key.issuer);
    if (known === undefined) {
      throw new ShellstreamError('REVOCATION_REFUSED', `the gateway does not know the issuer ${key.issuer}`);
    }
    const statement: Statement = {
      issuer: key.issuer,
      number: known.last + 1,
      issuedAtMs: Math.floor(world.clock.now()),
      reason: options.reason,
      what,
    };
    await gateway.revocations.offer(signStatement(statement, key.sign));
    world.out.write(
      options.json ? json(statement) : `revoked: ${words(what)} (number ${statement.number} of ${key.issuer})\n`,
    );
  });
}

function report(
  { issuers, statements, stale }: Awaited<ReturnType<ControlClient['revocations']['list']>>,
  nowMs: number,
): string {
  const parts = [
    table(
      ['ISSUER', 'STATEMENTS', 'HEARTBEAT', 'STATE'],
      issuers.map(({ issuer, last, heartbeatMs, stale: state }) => [
        issuer,
        String(last),
        heartbeatMs === undefined ? 'none' : `${duration(nowMs - heartbeatMs)} ago`,
        state ?? 'whole and recent',
      ]),
    ),
  ];
  if (stale !== undefined) parts.push(pairs([['nobody new at 3 and below', stale]]));
  if (statements.length > 0) {
    parts.push(
      table(
        ['NUMBER', 'ISSUER', 'SIGNED', 'REVOKED', 'REASON'],
        statements.map(({ number, issuer, issuedAtMs, what, reason }) => [
          String(number),
          issuer,
          isoTime(issuedAtMs),
          words(what),
          reason,
        ]),
      ),
    );
  }
  return parts.join('\n');
}

function words(what: Revoked): string {
  switch (what.kind) {
    case 'session':
      return `session ${what.session}`;
    case 'identity':
      return what.identity;
    case 'token':
      return `token ${what.token}`;
    case 'issued-before': {
      const whose = 'identity' in what.of ? what.of.identity : what.of.trustDomain;
      return `what ${whose} was issued before ${isoTime(what.timeMs)}`;
    }
  }
}

function hex(digits: number): (text: string) => string {
  return (text) => {
    if (text.length !== digits || !/^[0-9a-f]+$/.test(text)) {
      throw new InvalidArgumentError(`${digits} hex digits are expected.`);
    }
    return text;
  };
}

function moment(world: CliWorld): (text: string) => number {
  return (text) => {
    const ms = text === 'now' ? Math.floor(world.clock.now()) : Date.parse(text);
    if (
      !(text === 'now' || /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/.test(text)) ||
      !Number.isInteger(ms) ||
      ms < 0
    ) {
      throw new InvalidArgumentError('A time is like 2026-01-31T12:00:00Z, or `now`.');
    }
    return ms;
  };
}

function trustDomain(text: string): string {
  if (!isTrustDomain(text) || parseSpiffeId(`spiffe://${text}`) === undefined) {
    throw new InvalidArgumentError('A trust domain is like site.example.');
  }
  return text;
}

const DEFAULT_KEY = '/etc/shellstream/revocation.key';
