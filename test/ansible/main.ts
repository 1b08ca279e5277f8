/**
 * `npm run test:ansible`: runs deploy/ansible/posture-transition-test.yml with Debian's Ansible against two sites in network
 * namespaces. Only the connection differs from real hosts: Ansible's modules run in a site's namespace instead of over SSH.
 * Takes minutes, so `npm test` leaves it out. Needs root. The last line is `N passed, N failed`.
 */
import { strict as assert } from 'node:assert';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { PostureAnswer, StatusAnswer } from '../lab/answers.ts';
import { createLab, HOST, type Lab, PORTS } from '../lab/lab.ts';
import { startBoth } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { dumpNumbers, writeNumber } from '../support/bpf-maps.ts';
import { eventually } from '../support/eventually.ts';
import { attempt, type Finished } from '../support/processes.ts';

const PLAYBOOK = fileURLToPath(new URL('../../deploy/ansible/posture-transition-test.yml', import.meta.url));
/** Eight levels said at the console, and one release by the anchor. */
const CHANGES_OF_A_WALK = 9;
const RUN_MS = 900_000;

let passed = 0;
let failed = 0;

try {
  await using lab = await createLab();
  await startBoth(lab);
  await main(lab);
} catch (error) {
  failed += 1;
  console.error(error);
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

async function main(lab: Lab): Promise<void> {
  const { a, b } = lab;
  const inventory = await writeInventory(lab);
  const play = (...more: readonly string[]): Promise<Finished> => playbook(lab, inventory, more);
  await eventually('the mesh', async () => (await a.greeting(HOST, PORTS.granted)) !== undefined);
  const before = await eventually('addresses that are no longer tentative', async () => {
    const state = await stateOf(lab);
    return !JSON.stringify(state).includes(' tentative') && state;
  });

  await check('walks 5 to 1 and back, every level asserted', async () => {
    const { code, stdout } = await play();
    assert.equal(code, 0, stdout);
    assert.equal(changesAt(stdout), CHANGES_OF_A_WALK, stdout);
    await sameAs(lab, before);
  });

  await check('a second time changes as much, and leaves the same', async () => {
    const { code, stdout } = await play();
    assert.equal(code, 0, stdout);
    assert.equal(changesAt(stdout), CHANGES_OF_A_WALK, stdout);
    await sameAs(lab, before);
  });

  await check('--check looks and changes nothing', async () => {
    const { code, stdout } = await play('--check');
    assert.equal(code, 0, stdout);
    assert.equal(changesAt(stdout), 0, stdout);
    await sameAs(lab, before);
  });

  await check('a level that is not what it should be fails the walk, which goes back to 5 all the same', async () => {
    // The management service still answers at 2, where an ordinary one must not.
    const targets = [{ class: 'ordinary', address: HOST, port: PORTS.management }];
    const { code, stdout } = await play('--extra-vars', JSON.stringify({ walk_targets: targets }));
    assert.equal(code, 2, stdout);
    assert.match(stdout, /TASK \[2: targets that must not\]/);
    assert.doesNotMatch(stdout, /TASK \[1: /);
    await sameAs(lab, before);
  });

  await check('a level that another source asked for is left alone', async () => {
    const slot = join(b.pins, 'posture_level');
    await writeNumber(slot, 0, 3);
    await eventually('3', async () => (await posture(b)).effective === 3);
    const { code, stdout } = await play();
    assert.equal(code, 2, stdout);
    assert.match(stdout, /held below 5 by map/);
    assert.equal(changesAt(stdout), 0, stdout);
    assert.deepEqual(await b.postureInKernel(), [3, 3]);
    await writeNumber(slot, 0, 5);
    await sameAs(lab, before);
  });

  await check('a connection that level 1 would cut off is refused beforehand', async () => {
    const { code, stdout } = await play('--extra-vars', JSON.stringify({ walk_out_of_band: false }));
    assert.equal(code, 2, stdout);
    assert.match(stdout, /level 1 isolates \S/);
    assert.equal(changesAt(stdout), 0, stdout);
  });
}

/** As inventory.example.yml, for the namespaces of a lab. */
async function writeInventory({ a, b, directory }: Lab): Promise<string> {
  const program = { shellstream_command: [process.execPath, a.program] };
  const host = async (site: Site): Promise<object> => ({
    ansible_connection: 'local',
    ansible_python_interpreter: await interpreterIn(site),
    shellstream_socket: site.socket,
    ...program,
  });
  const walker = {
    ...(await host(b)),
    walk_peer_name: 'site-b',
    walk_outer_address: '10.77.0.2',
    walk_out_of_band: true,
    walk_targets: [
      { class: 'ordinary', address: HOST, port: PORTS.granted },
      { class: 'management', address: HOST, port: PORTS.management },
      { class: 'forbidden', address: HOST, port: PORTS.ungranted },
    ],
  };
  const inventory = {
    walkers: { hosts: { 'site-b': walker } },
    anchors: { hosts: { 'site-a': await host(a) } },
    outside: { hosts: { 'site-a': null } },
  };
  const file = join(directory, 'inventory.yml');
  await writeFile(file, stringify(inventory));
  return file;
}

/** A Python in the network of a site: whatever a module of Ansible does, it does there. */
async function interpreterIn(site: Site): Promise<string> {
  const file = join(site.options.directory, 'python');
  await mkdir(site.options.directory, { recursive: true });
  await writeFile(file, `#!/bin/sh\nexec nsenter --net=${site.namespace.path} /usr/bin/python3 "$@"\n`, {
    mode: 0o755,
  });
  return file;
}

async function playbook({ directory }: Lab, inventory: string, more: readonly string[]): Promise<Finished> {
  const home = join(directory, 'ansible');
  const env = {
    LC_ALL: 'C.UTF-8',
    ANSIBLE_HOME: home,
    ANSIBLE_LOCAL_TEMP: join(home, 'local'),
    ANSIBLE_REMOTE_TEMP: join(home, 'remote'),
    ANSIBLE_PIPELINING: '1',
    ANSIBLE_NOCOLOR: '1',
    ANSIBLE_RETRY_FILES_ENABLED: '0',
  };
  return await attempt('ansible-playbook', ['--inventory', inventory, ...more, PLAYBOOK], { env, timeoutMs: RUN_MS });
}

/** Of the walker, as the recap counts them. */
function changesAt(output: string): number {
  const [, changes] = /^site-b\s+: ok=\d+\s+changed=(\d+)/m.exec(output) ?? [];
  return Number(changes);
}

function posture(site: Site): Promise<PostureAnswer> {
  return site.json<PostureAnswer>('posture', 'get');
}

/** What a walk must leave as it was: the kernel of both sites, and what stands between them. */
async function stateOf({ a, b }: Lab): Promise<object> {
  const states = [a, b].map(async (site) => {
    const kernel = await Promise.all([
      site.run('ip', 'address'),
      site.run('ip', 'route', 'show', 'table', 'all'),
      site.run('ip', '-6', 'route', 'show', 'table', 'all'),
      site.run('wg', 'show', site.interfaceName, 'allowed-ips'),
      site.run('bpftool', 'net', 'show'),
    ]);
    const { counts } = await site.json<StatusAnswer>('status');
    return {
      kernel: kernel.map(({ stdout }) => settled(stdout)),
      levels: [...(await dumpNumbers(join(site.pins, 'posture_level'))).values()],
      peers: counts.tunnelPeers,
      sessions: (await site.sessions()).map(({ type, peer, effectiveLevel }) => `${type} ${peer} ${effectiveLevel}`),
      effective: (await posture(site)).effective,
    };
  });
  return await Promise.all(states);
}

/** Without what is counted, or new with each attestation. */
function settled(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.replaceAll(/[A-Za-z0-9+/]{43}=|valid_lft \S+ preferred_lft \S+|\bid \d+/g, '…').trim())
    .sort();
}

async function sameAs(lab: Lab, before: object): Promise<void> {
  await eventually('the state as it was', async () => {
    assert.deepEqual(await stateOf(lab), before);
    return true;
  });
}

async function check(name: string, body: () => Promise<void>): Promise<void> {
  const began = performance.now();
  try {
    await body();
    passed += 1;
    console.log(`ok      ${name} (${Math.round((performance.now() - began) / 1000)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}`);
    console.error(error);
  }
}
