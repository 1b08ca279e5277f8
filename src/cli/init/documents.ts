/** The two files of a new site. What the configuration says of its keys it takes from the example, so that there is one text. */
import { readFileSync } from 'node:fs';
import { type Document, isMap, isScalar, isSeq, type Pair, parseDocument, type YAMLMap } from 'yaml';
import { trustDomainOf } from '../../../protocol/identity/spiffe-id.ts';
import type { Answers } from './answers.ts';

const EXAMPLE = new URL('../../../deploy/shellstream.example.yaml', import.meta.url);

/** The example with the keys that are set, and their comments. `accordFile` is where the daemon will find the accord. */
export function configurationText(answers: Answers, accordFile: string): string {
  const document = parseDocument(readFileSync(EXAMPLE, 'utf8'));
  if (!isMap(document.contents)) throw new Error('the example configuration is no map');
  const [first] = document.contents.items;
  keep(document, document.contents, {
    apiVersion: 'shellstream/v1',
    instance: answers.instance,
    site: { trustDomain: answers.trustDomain },
    ...(answers.tunnelAddresses.length === 0 ? {} : { wireguard: { addresses: answers.tunnelAddresses } }),
    workloadApi: { socket: '/run/spire/agent/public/api.sock' },
    accord: { file: accordFile },
    posture: { isolate: answers.isolate },
    ...(answers.peers.length === 0
      ? {}
      : {
          mesh: {
            peers: answers.peers.map(({ name, spiffeId, address }) => ({
              name,
              spiffeId,
              ...(address === undefined ? {} : { address }),
            })),
          },
        }),
    ...(answers.advertise.length === 0 ? {} : { advertise: answers.advertise }),
    ...(answers.terminators === undefined
      ? {}
      : {
          terminators: {
            socket: `/run/shellstream-terminators/${answers.instance}/gateway.sock`,
            user: answers.terminators,
          },
        }),
    ...(answers.metrics === undefined ? {} : { metrics: { address: answers.metrics } }),
  });
  document.commentBefore = HEADING;
  document.contents.commentBefore = null;
  if (first !== undefined && isScalar(first.key)) first.key.commentBefore = null;
  return document.toString({ lineWidth: 0, flowCollectionPadding: false, singleQuote: true });
}

/** An accord that lets nobody in but the peers, to nothing yet; what to open next stands in it as a comment. */
export function accordText({ trustDomain, peers }: Answers): string {
  const ids = peers.map(({ spiffeId }) => spiffeId);
  const domains = [...new Set(ids.map(trustDomainOf))].filter((domain) => domain !== trustDomain);
  const someone = ids[0] ?? 'spiffe://beta.example/gateway';
  return `# What each posture level, tier and identity may have at this site. It extends the accord that comes with the program
# and may only make that stricter; targets, prefixes and tiers are the site's own, and without them nothing is granted.
# All there is to say here: protocol/README.md and the example beside it, example-site.yaml.
apiVersion: shellstream.accord/v1
id: ${accordId(trustDomain)}
extends: default
# Count it up with every change: sessions and evidence name it.
serial: 1
signer: none
minimumVersion: 1
${ids.length === 0 ? '' : meshOnlyFor(ids)}
# What can be reached behind us, by whom, from which tier on. Nothing, until it is listed:
#   - name: web
#     class: ordinary # until level 3; management, incident, health until 2
#     prefixes: [10.1.0.0/24]
#     protocol: tcp
#     ports: [443]
#     allow: [{ identities: ['${someone}'], minimumTier: journeyman }]
targets: []

# Which prefixes a peer may say are behind it, its own tunnel address among them. Nothing, until it is listed:
#   - identities: ['${someone}']
#     prefixes: [10.2.0.0/16, 10.9.0.2]
advertise: []

tiers:
  # Tiers of our own identities, where their tokens claim none:
  #   - { identity: 'spiffe://${trustDomain}/operator/**', tier: journeyman }
  assigned: []
  # The highest tier that an identity of another trust domain can have here. Without one it has none at all.
${ceilings(domains)}`;
}

function meshOnlyFor(ids: readonly string[]): string {
  return `
sessionTypes:
  mesh:
    # Only the gateways we know.
    allow:
      - identities: [${ids.map((id) => `'${id}'`).join(', ')}]
        minimumTier: journeyman
`;
}

function ceilings(domains: readonly string[]): string {
  if (domains.length === 0)
    return "  #   - { identity: 'spiffe://beta.example/**', tier: journeyman }\n  ceilings: []\n";
  const lines = domains.map((domain) => `    - { identity: 'spiffe://${domain}/**', tier: journeyman }\n`);
  return `  ceilings:\n${lines.join('')}`;
}

/** At most 64 characters, as accord ids are. */
function accordId(trustDomain: string): string {
  return trustDomain.slice(0, 64).replace(/[^a-z0-9]+$/, '');
}

interface Kept {
  readonly [key: string]: string | number | Kept | readonly string[] | readonly Kept[];
}

/** Leaves of a map what is wanted, with its comments. */
function keep(document: Document, map: YAMLMap, wanted: Kept): void {
  const [first] = map.items;
  // What stands before the first key is the map's own comment.
  if (first !== undefined && wanted[keyOf(first)] === undefined) map.commentBefore = null;
  map.items = map.items.filter((pair) => {
    const value = wanted[keyOf(pair)];
    if (value === undefined) return false;
    if (isMap(pair.value) && typeof value === 'object' && !isList(value)) keep(document, pair.value, value);
    else if (isSeq(pair.value) && isMap(pair.value.items[0]) && isList(value)) {
      const [template] = pair.value.items;
      // The first has the comments; to say them again for each would drown the rest.
      pair.value.items = value.map((item, at) => {
        if (at > 0 || typeof item === 'string') return document.createNode(item);
        keep(document, template, item);
        return template;
      });
    } else pair.value = document.createNode(value, { flow: true });
    return true;
  });
}

function isList(value: Kept[string]): value is readonly string[] | readonly Kept[] {
  return Array.isArray(value);
}

function keyOf({ key }: Pair): string {
  return isScalar(key) ? String(key.value) : '';
}

const HEADING = ` Written by \`shellstream init\`. What is not here has its default; every key there is, with its default, is in
 shellstream.example.yaml.`;
