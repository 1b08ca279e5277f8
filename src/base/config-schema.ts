/** Every key of the configuration file, its kind and its default. `deploy/shellstream.example.yaml` explains each. */
import { z } from 'zod';
import { CAPABILITIES } from '../../protocol/capability/model.ts';
import {
  hasPorts,
  interfaceAddressField,
  parsed,
  prefixField,
  protocolField,
  spiffeIdField,
  spiffeIdPatternField,
} from '../../protocol/document/fields.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type NoteKey, parseVerifierKey } from '../../protocol/evidence/index.ts';
import { isTrustDomain, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { tryParseAddress } from '../../protocol/net/address.ts';
import { isAdvertisable } from '../../protocol/net/special.ts';
import { nodeCrypto } from './crypto-node.ts';
import { offerProblems } from './mesh-offers.ts';
import { prefixTranslation, translationProblems } from './prefix-translation.ts';

/** An IP address or a DNS name, and a port. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

const port = z.int().min(1).max(65_535);
const seconds = z.int().min(1).max(86_400);
const absolutePath = z
  .string()
  .max(255)
  .regex(/^\/[^\0]*$/, 'an absolute path');
/** A socket's path must fit sun_path. */
const socketPath = absolutePath.max(107);
const userName = z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'a user name');
const interfaceName = z.string().regex(/^[a-zA-Z0-9._-]{1,15}$/, 'an interface name of at most 15 characters');
const word = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'a name: a-z, 0-9 and dashes');
const level = z.union([z.literal(1), z.literal(2), z.literal(3), z.literal(4), z.literal(5)], 'a level from 1 to 5');

const ipAddress = z.string().refine((text) => tryParseAddress(text) !== undefined, 'not an IP address');
const endpoint = parsed<Endpoint>(parseEndpoint);
const loopbackEndpoint = endpoint.refine(({ host }) => isLoopback(host), 'only a loopback address');

/** `NAME+ID+KEY`, as signed notes have them. */
const verifierKey = parsed<NoteKey>((text) => parseVerifierKey(nodeCrypto.sha256, text));

/** A URL without a scheme, as c2sp.org/tlog-checkpoint wants it; a signed note’s key bears it as its name. */
const logOrigin = z
  .string()
  .max(255)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._~/-]*$/, 'the name of a log: a host and a path');

/** Who is asked to cosign the log, and how many must. */
const witnesses = z
  .strictObject({
    quorum: z.int().min(0).max(16).default(1),
    timeoutSeconds: z.int().min(1).max(60).default(2),
    ask: z
      .array(
        z.strictObject({
          url: z.string().max(255).refine(isWitnessUrl, 'https://HOST/PATH; http: on loopback only'),
          key: verifierKey.refine(({ type }) => type === 'cosigner', 'a key that signs logs, not one of a witness'),
        }),
      )
      .min(1)
      .max(16),
  })
  .refine(({ quorum, ask }) => quorum <= new Set(ask.map(({ key }) => key.id)).size, {
    path: ['quorum'],
    error: 'more than there are witnesses',
  });

/** Instances share a host: the name goes into paths, BPF pins and interface names, and must not be another's prefix. */
const instance = z.string().regex(/^[a-z0-9]{1,10}$/, '1 to 10 of a-z and 0-9');

const advertised = z
  .array(prefixField.refine(isAdvertisable, 'never behind a site: loopback, link-local, default'))
  .max(64);

/** What a session asks to reach. Port 0 is every port. */
const target = z
  .strictObject({
    prefix: prefixField,
    protocol: protocolField.default(6),
    port: z.int().min(0).max(65_535).default(0),
  })
  .refine(({ protocol, port }) => hasPorts(protocol) || port === 0, { path: ['port'], error: 'no ports there' });

const peer = z
  .strictObject({
    name: word,
    spiffeId: spiffeIdField,
    /** Without one the peer dials us. */
    address: endpoint.optional(),
    request: z
      .strictObject({
        capabilities: z.array(z.enum(CAPABILITIES)).min(1).max(CAPABILITIES.length).default(['OBSERVE', 'CONNECT']),
        targets: z.array(target).max(256).default([]),
      })
      .prefault({}),
    /** What of ours it may reach, when we dial it, as far as the accord lets it. */
    offer: z.array(target).max(256).default([]),
    /** Whose signature releases the site from a hold: verifier keys of its site_owner. */
    releaseKeys: z.array(verifierKey).max(8).default([]),
    /** Identities of its site, each a site_owner, whose management session with ADMIN releases it. */
    ceremony: z.array(spiffeIdField).max(16).default([]),
    /** Instead of what the site advertises to all. */
    advertise: advertised.optional(),
    /** The tunnel's packets go in the session: where UDP is blocked. To be allowed at both ends, or at neither. */
    carry: z.union([z.boolean(), z.literal('auto')]).default(false),
    keepaliveSeconds: z.int().min(0).max(120).default(25),
  })
  .refine(({ address, carry, keepaliveSeconds }) => address === undefined || carry !== 'auto' || keepaliveSeconds > 0, {
    path: ['carry'],
    error: 'without keepalives nobody notices that UDP is blocked',
  });

/** What `to` lets us reach, `from` may reach through us, as far as the accord lets it. */
const forward = z.strictObject({ from: word, to: word });

/** Who governs beside us. We dial it, or it dials us, or both. */
const bascule = z
  .strictObject({
    spiffeId: spiffeIdField,
    address: endpoint.optional(),
    push: z
      .strictObject({
        address: endpoint.refine(({ host }) => tryParseAddress(host) !== undefined, 'an IP address of ours'),
      })
      .optional(),
  })
  .refine(({ address, push }) => address !== undefined || push !== undefined, 'neither address nor push');

/** A change of a route that may be carried out while the underlay is frozen to emergencies. */
const approvedChange = z
  .strictObject({
    action: z.enum(['add', 'remove']),
    prefix: prefixField,
    interface: interfaceName,
    via: parsed(requiredAddress).optional(),
    table: z.int().min(1).max(4_294_967_295).default(254),
    metric: z.int().min(1).max(4_294_967_295).optional(),
  })
  .refine(({ prefix, via }) => via === undefined || via.length === prefix.address.length, {
    path: ['via'],
    error: 'an address of the same family',
  })
  .transform(({ action, prefix, interface: link, via, table, metric }) => ({
    action,
    route: { destination: prefix, link, gateway: via, table, metric },
  }));

/** Ed25519, 32 bytes. */
const publicKey = z
  .base64()
  .refine((text) => text.length === 44, 'not 32 bytes')
  .transform((text) => new Uint8Array(Buffer.from(text, 'base64')));

/** Who may revoke, and how that is heard. */
const revocation = z.strictObject({
  keys: z
    .array(z.strictObject({ issuer: spiffeIdField, publicKey, heartbeatKey: publicKey.optional() }))
    .max(64)
    .default([]),
  staleSeconds: seconds.default(120),
  heartbeat: z.strictObject({ keyFile: absolutePath, seconds: seconds.default(15) }).optional(),
  feeds: z
    .array(z.strictObject({ address: endpoint, spiffeId: spiffeIdField }))
    .max(16)
    .default([]),
  serve: z
    .strictObject({
      address: endpoint.refine(({ host }) => tryParseAddress(host) !== undefined, 'an IP address of ours'),
      allow: z.array(spiffeIdPatternField).max(64).default([]),
    })
    .optional(),
});

const staticFlow = z
  .strictObject({
    interface: interfaceName,
    direction: z.enum(['in', 'out']),
    remote: prefixField,
    protocol: protocolField,
    port: z.int().min(0).max(65_535),
  })
  .refine(({ protocol, port }) => hasPorts(protocol) || port === 0, { path: ['port'], error: 'no ports there' });

export const limits = z.strictObject({
  pendingHandshakes: z.int().min(1).max(65_536).default(256),
  handshakeSeconds: z.int().min(1).max(60).default(10),
  /** From one IPv4 /24 or IPv6 /56. */
  perPrefixRate: z
    .strictObject({ perSecond: z.int().min(1).max(10_000).default(20), burst: z.int().min(1).max(10_000).default(40) })
    .prefault({}),
  /** Of each terminator: milliseconds of its thread in each second. */
  handshakeBudget: z
    .strictObject({
      millisecondsPerSecond: z.int().min(10).max(10_000).default(500),
      meshPercent: z.int().min(0).max(90).default(25),
      meshSources: z.array(z.string().refine(isPrefix, 'not an IP prefix')).max(256).default([]),
    })
    .prefault({}),
  sessions: z.int().min(1).max(65_535).default(10_000),
  sessionsPerIdentity: z.int().min(1).max(65_535).default(1_000),
  streamsPerSession: z.int().min(1).max(4_096).default(64),
  streamWindowBytes: z.int().min(16_384).max(16_777_216).default(262_144),
  silenceSeconds: z.int().min(5).max(3_600).default(60),
});

export const configSchema = z
  .strictObject({
    apiVersion: z.literal('shellstream/v1'),
    instance: instance.default('main'),
    site: z.strictObject({ trustDomain: z.string().refine(isTrustDomain, 'not a trust domain') }),
    listen: z.strictObject({ address: ipAddress.default('::'), port: port.default(7843) }).prefault({}),
    wireguard: z
      .strictObject({
        driver: z.enum(['auto', 'kernel', 'embedded']).default('auto'),
        interface: z
          .string()
          .regex(/^shs[a-z0-9-]{1,12}$/, 'shs and up to 12 more of a-z, 0-9, dash')
          .optional(),
        port: z.int().min(0).max(65_535).default(51_840),
        mtu: z.int().min(1_280).max(9_000).default(1_420),
        addresses: z.array(interfaceAddressField).max(8).default([]),
      })
      .prefault({}),
    workloadApi: z.strictObject({ socket: socketPath.default('/run/spire/agent/public/api.sock') }).prefault({}),
    accord: z.strictObject({ file: absolutePath.default('/etc/shellstream/accord.yaml') }).prefault({}),
    posture: z
      .strictObject({
        initial: level.default(5),
        isolate: z
          .union([z.enum(['none', 'all-but-loopback']), z.array(interfaceName).min(1).max(64)])
          .default('all-but-loopback'),
        allowAtLockdown: z.array(staticFlow).max(64).default([]),
        leaseSeconds: z.int().min(2).max(300).default(10),
        bascule: bascule.optional(),
      })
      .prefault({}),
    revocation: revocation.prefault({}),
    mesh: z
      .strictObject({
        peers: z.array(peer).max(1_024).default([]),
        /** How long WireGuard's handshake may be missing before a tunnel with `carry: auto` goes in its session. */
        carryAfterSeconds: z.int().min(1).max(300).default(10),
        /** Peers' names: whose packets may go on to whom through us. */
        forward: z.array(forward).max(256).default([]),
        /** Where two sites have the same addresses. */
        prefixTranslation,
        /** Where signed releases are taken by HTTP. */
        releases: z.strictObject({ address: loopbackEndpoint.optional() }).prefault({}),
      })
      .prefault({}),
    advertise: advertised.default([]),
    underlay: z.strictObject({ preApproved: z.array(approvedChange).max(256).default([]) }).prefault({}),
    control: z
      .strictObject({
        socket: socketPath.optional(),
        siteOwners: z.array(z.int().min(0).max(4_294_967_294)).max(64).default([0]),
      })
      .prefault({}),
    limits: limits.prefault({}),
    /** Without `socket` the gateway starts them itself. */
    terminators: z
      .strictObject({
        count: z.union([z.literal('auto'), z.int().min(1).max(64)]).default('auto'),
        socket: socketPath.optional(),
        user: z.union([userName, z.int().min(1).max(4_294_967_294)]).optional(),
      })
      .prefault({}),
    log: z
      .strictObject({
        level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
        file: absolutePath.optional(),
      })
      .prefault({}),
    metrics: z.strictObject({ address: loopbackEndpoint.optional() }).prefault({}),
    /** `off` is said aloud: without evidence a gateway is not what it promises. */
    evidence: z
      .union([
        z.literal('off'),
        z
          .strictObject({
            origin: logOrigin.optional(),
            directory: absolutePath.optional(),
            keys: z.array(absolutePath).min(1).max(4).optional(),
            budgetMegabytes: z.int().min(8).max(1_048_576).default(2_048),
            retentionDays: z.int().min(1).max(36_500).default(90),
            /** Without it entries and tiles stay for ever. */
            logDays: z.int().min(1).max(36_500).optional(),
            /** Without one the gateway is its own. */
            quartermaster: z.strictObject({ address: endpoint, spiffeId: spiffeIdField }).optional(),
            serve: endpoint
              .refine(({ host }) => tryParseAddress(host) !== undefined, 'an IP address and a port')
              .optional(),
            witnesses: witnesses.optional(),
          })
          .refine(({ logDays = Number.POSITIVE_INFINITY, retentionDays }) => logDays >= retentionDays, {
            path: ['logDays'],
            error: 'less than retentionDays',
          }),
      ])
      .prefault({}),
    shutdownSeconds: seconds.default(5),
    stateDirectory: absolutePath.optional(),
    runtimeDirectory: absolutePath.optional(),
  })
  .superRefine((config, context) => {
    const seen = { name: new Set<string>(), spiffeId: new Set<SpiffeId>() };
    for (const [at, { name, spiffeId }] of config.mesh.peers.entries()) {
      if (seen.name.has(name))
        context.addIssue({ code: 'custom', path: ['mesh', 'peers', at, 'name'], message: 'a name twice' });
      if (seen.spiffeId.has(spiffeId)) {
        context.addIssue({
          code: 'custom',
          path: ['mesh', 'peers', at, 'spiffeId'],
          message: 'one identity is one peer',
        });
      }
      seen.name.add(name);
      seen.spiffeId.add(spiffeId);
    }
    for (const { path, message } of [...translationProblems(config), ...offerProblems(config)]) {
      context.addIssue({ code: 'custom', path: [...path], message });
    }
    for (const [at, { from, to }] of config.mesh.forward.entries()) {
      const issue = (key: 'from' | 'to', message: string) =>
        context.addIssue({ code: 'custom', path: ['mesh', 'forward', at, key], message });
      if (!seen.name.has(from)) issue('from', 'no peer has this name');
      if (!seen.name.has(to)) issue('to', 'no peer has this name');
      if (from === to) issue('to', 'the peer that it comes from');
    }
  });

function parseEndpoint(text: string): Endpoint {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):([1-9][0-9]{0,4})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const number = Number(match?.[3]);
  const isAddress = tryParseAddress(host) !== undefined;
  const isName = match?.[2] !== undefined && /^(?=.{1,253}$)[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$/.test(host);
  if (!(isAddress || isName) || number > 65_535) {
    throw new ShellstreamError(
      'MALFORMED',
      `not a host and port (host:7843, [fd00::1]:7843): ${JSON.stringify(text.slice(0, 300))}`,
    );
  }
  return { host, port: number };
}

/** A false answer by who sits between could stop a log whose quorum it is: no plain HTTP through a network. */
function isWitnessUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') return false;
  const isLocal = url.protocol === 'http:' && isLoopback(url.hostname.replace(/^\[|\]$/g, ''));
  return url.protocol === 'https:' || isLocal;
}

function requiredAddress(text: string): Uint8Array {
  const address = tryParseAddress(text);
  if (address === undefined) throw new ShellstreamError('MALFORMED', 'not an IP address');
  return address;
}

function isPrefix(text: string): boolean {
  return prefixField.safeParse(text).success;
}

function isLoopback(host: string): boolean {
  const address = tryParseAddress(host);
  if (address === undefined) return false;
  return address.length === 4 ? address[0] === 127 : address.every((byte, at) => byte === (at === 15 ? 1 : 0));
}
