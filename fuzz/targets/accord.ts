/** Accords: whole ones, and ones that extend the default. What a site may not do to its base is checked anew here. */

import { MODES, TIERS } from '../../protocol/capability/model.ts';
import { accordProblems } from '../../protocol/posture/accord-rules.ts';
import { type Accord, parseAccord } from '../../protocol/posture/index.ts';
import { POSTURE_LEVELS } from '../../protocol/posture/level.ts';
import { looserRules } from '../../protocol/posture/level-rules.ts';
import { lines } from '../formats/lines.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { ascii, repositoryFile } from './examples.ts';
import { KEYS, YAML_WORDS, yamlErrors, yamlSteps } from './yaml.ts';

const STRICTER = `apiVersion: shellstream.accord/v1
id: site
extends: default
serial: 2
signer: none
minimumVersion: 1
drainMilliseconds: 1000
timers: [{name: night, level: 4, daily: {from: "22:00", until: "05:00"}}]
levels: {5: {notarisation: {transitPercent: 20}}, 4: {handshake: {sat: fresh}}}
capabilities: {overlay: {apprentice: {5: [OBSERVE], 4: [OBSERVE], 3: [OBSERVE]}}}
sessionTypes: {operator: {lifetimeSeconds: 60, allow: [{identities: any, minimumTier: master}]}}
targets:
  - {name: web, class: ordinary, prefixes: [10.1.0.0/24], protocol: tcp, ports: [443, 8000-8010], allow: [{identities: any, minimumTier: apprentice}]}
advertise: [{identities: ["spiffe://b.example/**"], prefixes: [10.2.0.0/16]}]
tiers: {assigned: [{identity: "spiffe://a.example/*", tier: master}], ceilings: []}
`;
const NARROWER = `apiVersion: shellstream.accord/v1
id: narrow
extends: site
serial: 1
signer: none
minimumVersion: 1
targets:
  - {name: web, class: ordinary, prefixes: [10.1.0.7], protocol: tcp, ports: [443], allow: [{identities: any, minimumTier: master, types: [operator]}]}
advertise: [{identities: ["spiffe://b.example/x"], prefixes: [10.2.3.0/24]}]
tiers: {assigned: [{identity: "spiffe://a.example/x", tier: apprentice}]}
`;

export const open: OpenTarget = async () => {
  const base = parseAccord(repositoryFile('protocol/accords/default.yaml'));
  const site = parseAccord(ascii(STRICTER), { bases: new Map([['default', base]]) });
  const bases = new Map([
    ['default', base],
    ['site', site],
  ]);
  return {
    about: 'accords: what extends another gives nothing that the other did not',
    covers: ['protocol/posture/', 'protocol/document/'],
    maxBytes: 24_000,
    format: lines,
    dictionary: [
      ...YAML_WORDS,
      ...KEYS,
      'extends: default',
      'siteSections: open',
      'OBSERVE',
      'ADMIN',
      'site_owner',
      'apprentice',
      'any',
    ],
    seeds: [
      ascii(STRICTER),
      ascii(NARROWER),
      repositoryFile('protocol/accords/example-site.yaml'),
      repositoryFile('protocol/accords/default.yaml'),
    ],
    steps: yamlSteps,
    run(input) {
      const read = attempt(yamlErrors(input), () => parseAccord(input, { bases }));
      if ('refusal' in read) return read.refusal;
      holds(accordProblems(read.value).length === 0, 'an accord with problems was taken');
      const above = read.value.extends === undefined ? undefined : bases.get(read.value.extends);
      if (above !== undefined) checkTightened(read.value, above);
      return `taken ${above?.id} ${read.value.siteSections} ${read.value.targets.length} ${read.value.advertise.length}`;
    },
  };
};

function checkTightened(accord: Accord, base: Accord): void {
  for (const level of POSTURE_LEVELS) {
    const looser = looserRules(accord.levels[level], base.levels[level]);
    holds(looser.length === 0, `looser than its base at ${level}`);
    for (const mode of MODES) {
      for (const tier of TIERS) {
        const allowed = base.capabilities[mode][tier][level];
        holds(
          accord.capabilities[mode][tier][level].every((one) => allowed.includes(one)),
          'a capability more',
        );
      }
    }
  }
  holds(accord.drainMs <= base.drainMs, 'drains longer than its base');
  holds(accord.minimumVersion >= base.minimumVersion, 'takes an older version than its base');
  for (const [type, rule] of Object.entries(accord.sessionTypes)) {
    const limit = Object.entries(base.sessionTypes).find(([name]) => name === type)?.[1];
    holds(limit !== undefined && rule.lifetimeMs <= limit.lifetimeMs, 'lives longer than in its base');
    holds(
      rule.modes.every((mode) => limit.modes.includes(mode)),
      'a mode more',
    );
  }
  if (base.siteSections === 'open') return;
  holds(accord.siteSections === 'closed', 'opened again');
  const addresses = (one: Accord): number => one.targets.flatMap(({ prefixes }) => prefixes).length;
  holds(addresses(accord) === 0 || addresses(base) > 0, 'targets out of nothing');
  for (const rule of base.tiers.assigned)
    holds(accord.tiers.assigned.includes(rule), 'a tier rule of the base is gone');
  for (const rule of base.tiers.ceilings) holds(accord.tiers.ceilings.includes(rule), 'a ceiling of the base is gone');
}
