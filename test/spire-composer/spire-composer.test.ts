/** The composer under a host on hashicorp/go-plugin that starts it, asks it and signs as SPIRE's server does. */
import { createHash } from 'node:crypto';
import { readFile, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { MAX_SCOPES, NETWORK_POLICY_EXTENSION } from '../../protocol/identity/claims.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { systemClock } from '../../src/base/clock.ts';
import {
  parseJwtBundle,
  parseX509Bundle,
  SpireSatVerifier,
  SvidVerifier,
  type TrustBundles,
} from '../../src/identity/index.ts';
import { serverConfig } from '../spire/configs.ts';
import { eventually } from '../support/eventually.ts';
import { describeWith } from '../support/requirements.ts';
import { BUILD_MS, buildHost, type Host, HostFailure, type HostLine, PLUGIN, type Started } from './driver.ts';
import { isGone, MAPPING, POLICY, TRUST_DOMAIN, World } from './world.ts';

const GATEWAY = 'spiffe://b.test/gateway';
const COMPOSER = 'spire.plugin.server.credentialcomposer.v1.CredentialComposer';
const CONFIG = 'spire.service.common.config.v1.Config';

describeWith(['go'], 'the credential composer under a go-plugin host', () => {
  let world: World;
  let host: Host;
  let plugin: Started;

  beforeAll(() => buildHost().then(() => undefined), BUILD_MS);

  const begin = async (): Promise<void> => {
    world = await World.create();
    host = world.host();
    plugin = await host.start();
  };
  const end = () => world[Symbol.asyncDispose]();
  const configure = (pluginData: string, of = host): Promise<unknown> =>
    of.ask('configure', { trustDomain: TRUST_DOMAIN, pluginData });

  describe('once it is configured', () => {
    let bundles: TrustBundles;
    beforeAll(begin);
    afterAll(end);
    beforeEach(async () => {
      await configure(await world.mapping(MAPPING));
      const authority = await host.ask<{ x509: string; jwt: string }>('authority');
      bundles = {
        x509: new Map([[TRUST_DOMAIN, parseX509Bundle(TRUST_DOMAIN, bytes(authority.x509), Date.now())]]),
        jwt: new Map([[TRUST_DOMAIN, parseJwtBundle(TRUST_DOMAIN, bytes(authority.jwt), Date.now())]]),
      };
    });

    const verify = async (token: string, subject: SpiffeId) => {
      const nobody = () => Promise.reject(new Error('nobody has to be asked'));
      const verifier = new SpireSatVerifier({ source: { bundles, validateSat: nobody } });
      const audiences = { plain: GATEWAY, bound: `${GATEWAY}#handshake` };
      return await verifier.verify({ token, subject, audiences, fresh: false, now: Date.now() });
    };
    const token = (spiffeId: string, claims = {}) =>
      host.ask<{ token: string; claims: Record<string, unknown> }>('token', { spiffeId, audience: GATEWAY, claims });
    type Certificate = { der: string; subject: string; dns: string[]; extensions: Record<string, string> };
    const certificate = (spiffeId: string, extensions: readonly string[] = []) =>
      host.ask<Certificate & { unhandledCritical: number }>('certificate', { spiffeId, extensions });

    test.each([
      ['/ann', 'master', []],
      ['/owner', 'site_owner', []],
      ['/people/ops/eve', 'journeyman', ['routes:read', 'routes:propose']],
      ['/people/new/tom', 'apprentice', ['routes:read']],
      ['/ns/shop/sa/web', undefined, []],
      ['/nobody', undefined, []],
    ])('a gateway reads from the token of %s the tier %s and the scopes %j', async (path, tier, scopes) => {
      const subject = id(path);
      expect(await verify((await token(subject)).token, subject)).toMatchObject({ subject, tier, scopes });
    });

    test('an identity without an entry gets no claim of ours, whatever something else wrote', async () => {
      const forged = { tier: 'site_owner', scopes: ['all'], network_policy: POLICY };
      const { claims } = await token(id('/nobody'), forged);
      expect(Object.keys(claims).sort()).toEqual(['aud', 'exp', 'iat', 'sub']);
      expect((await token(id('/ann'), forged)).claims).toEqual({ ...claims, sub: id('/ann'), tier: 'master' });
    });

    test('claims of others stay as they are', async () => {
      const others = {
        iss: 'https://a.test',
        jti: 'x',
        deep: { list: [1.5, null, true, { '': 'ä' }] },
        constructor: 1,
      };
      expect((await token(id('/ann'), others)).claims).toMatchObject({ ...others, tier: 'master' });
    });

    test('a token with all that a mapping may hold is one that a gateway takes', async () => {
      const scopes = Array.from({ length: MAX_SCOPES }, (_, at) => `${'x'.repeat(28)}${100 + at}`);
      const entry = { identity: id('/full'), tier: 'journeyman', scopes, networkPolicy: POLICY };
      await configure(
        await world.mapping(JSON.stringify({ apiVersion: 'shellstream.composer/v1', identities: [entry] })),
      );
      const full = await token(id('/full'), { iss: 'https://oidc.a.test', jti: 'x'.repeat(22) });
      expect(await verify(full.token, id('/full'))).toMatchObject({ tier: 'journeyman', scopes });
    });

    test('the hash of a network policy is in the token and, as an octet string, in the certificate', async () => {
      const web = id('/ns/shop/sa/web');
      expect((await token(web)).claims).toMatchObject({ network_policy: POLICY });
      const issued = await certificate(web);
      const value = Buffer.from(issued.extensions[NETWORK_POLICY_EXTENSION] ?? '', 'base64');
      expect(value.toString('hex')).toBe(`0420${POLICY}`);
      expect(issued).toMatchObject({ unhandledCritical: 0, dns: ['web.a.test'] });
      expect(issued.subject).toContain('O=SPIRE');
      const svid = new SvidVerifier({ bundles: () => bundles, clock: systemClock }).verify([bytes(issued.der)]);
      expect(svid.spiffeId).toBe(web);
    });

    test('a certificate says no tier, and no policy for who has none, whatever something else wrote', async () => {
      const plain = await certificate(id('/ann'));
      const forged = await certificate(id('/ann'), [NETWORK_POLICY_EXTENSION, '1.2.3.4']);
      expect(Object.keys(forged.extensions).sort()).toEqual(['1.2.3.4', ...Object.keys(plain.extensions).sort()]);
      expect(Buffer.from(plain.der, 'base64').includes('master')).toBe(false);
      const web = await certificate(id('/ns/shop/sa/web'), [NETWORK_POLICY_EXTENSION]);
      expect(bytes(web.extensions[NETWORK_POLICY_EXTENSION] ?? '')).toHaveLength(34);
    });

    test("the server's and its agents' certificates stay as SPIRE makes them", async () => {
      expect(await host.ask('defaults', { spiffeId: 'spiffe://a.test/spire/agent/x' })).toEqual([]);
    });

    test.each([
      ['of another trust domain', 'spiffe://b.test/ann', {}],
      ['that is none', 'ann', {}],
      ['of the trust domain itself', 'spiffe://a.test', {}],
      ['with a claim to be somebody else', id('/ann'), { sub: id('/owner') }],
    ])('an identity %s gets nothing', async (_, spiffeId, claims) => {
      await expect(token(spiffeId, claims)).rejects.toMatchObject({ code: 'InvalidArgument' });
    });

    test('a mapping with a mistake is refused with its place, and the former one stays', async () => {
      const bad = await world.mapping(MAPPING.replace('tier: master', 'tier: wizard'), 'bad.yaml');
      const refused = await configure(bad).catch((error: unknown) => error);
      expect(refused).toMatchObject({ code: 'InvalidArgument' });
      expect(String(refused)).toMatch(/bad\.yaml:5:\d+: identities\.2\.tier: /);
      expect((await token(id('/ann'))).claims).toMatchObject({ tier: 'master' });
    });

    test('a changed mapping counts when SPIRE configures again, and not before', async () => {
      const pluginData = await world.mapping(MAPPING.replace('tier: master', 'tier: apprentice'));
      expect((await token(id('/ann'))).claims).toMatchObject({ tier: 'master' });
      expect(await host.ask('validate', { trustDomain: TRUST_DOMAIN, pluginData })).toMatchObject({ valid: true });
      expect((await token(id('/ann'))).claims).toMatchObject({ tier: 'master' });
      await configure(pluginData);
      expect((await token(id('/ann'))).claims).toMatchObject({ tier: 'apprentice' });
    });

    test('a pinned mapping is taken with its hash alone', async () => {
      const sum = createHash('sha256').update(MAPPING).digest('hex');
      const pluginData = await world.mapping(MAPPING);
      await configure(`${pluginData}mapping_sha256 = "${sum}"`);
      await world.mapping(`${MAPPING}# one byte more`);
      await expect(configure(`${pluginData}mapping_sha256 = "${sum}"`)).rejects.toThrow('its SHA-256 is');
    });

    test('many ask at once', async () => {
      const claims = { sub: id('/ann'), aud: [GATEWAY], exp: 2e9, iat: 1e9 };
      expect(await host.ask('many', { spiffeId: id('/ann'), claims, count: 2000 })).toMatchObject({ refused: 0 });
    });
  });

  describe('as it was started', () => {
    beforeEach(begin);
    afterEach(end);

    test('answers the handshake, says what it serves, and is healthy', async () => {
      expect(plugin.services).toEqual([COMPOSER, CONFIG]);
      expect(plugin.socket).toContain(world.temporary);
      await host.ask('ping');
    });

    test("it speaks into the server's log, at its levels", async () => {
      await configure(await world.mapping(MAPPING));
      const forged = { sub: id('/nobody'), tier: 'site_owner' };
      for (let time = 0; time < 3; time += 1) await host.ask('compose', { spiffeId: id('/nobody'), claims: forged });
      const own = await eventually('both lines', async () => {
        const lines = await host.ask<HostLine[]>('logs');
        const ours = lines.filter((line) => 'trust_domain' in line || 'first_seen_for' in line);
        return ours.length >= 2 && ours;
      });
      expect(own).toMatchObject([
        { '@level': 'info', '@message': 'mapping taken over', entries: 5, trust_domain: TRUST_DOMAIN },
        { '@level': 'warn', first_seen_for: id('/nobody') },
      ]);
    });

    test('before it is configured it composes nothing, so that SPIRE issues nothing', async () => {
      const asked = host.ask('compose', { spiffeId: id('/ann'), claims: { sub: id('/ann') } });
      await expect(asked).rejects.toMatchObject({ code: 'FailedPrecondition' });
      await expect(host.ask('certificate', { spiffeId: id('/ann') })).rejects.toMatchObject({
        code: 'FailedPrecondition',
      });
    });

    test("it reads plugin_data as SPIRE prints it from the server's configuration", async () => {
      const inline = `# a note\n      ${await world.mapping(MAPPING)} /* another */`;
      const place = { trustDomain: TRUST_DOMAIN, folder: '/x', port: 1 };
      const config = serverConfig(place, { command: PLUGIN, checksum: '', data: { inline } });
      const pluginData = await host.ask<string>('print', { config });
      expect(pluginData).toContain('a note');
      await configure(pluginData);
    });

    test.each([
      ['nothing', '', 'mapping_file is missing'],
      ['an unknown key', 'mapping = "/x"', 'plugin_data:1:1: no such key: mapping'],
      ['a file that is not there', 'mapping_file = "/none/tiers.yaml"', 'ENOENT'],
      ['JSON', '{"mapping_file": "/x"}', 'plugin_data:1:1: '],
    ])('a configuration of %s is refused, and validated as such', async (_, pluginData, why) => {
      await expect(configure(pluginData)).rejects.toThrow(why);
      const verdict = await host.ask<{ valid: boolean; notes: string[] }>('validate', {
        trustDomain: 'a.test',
        pluginData,
      });
      expect(verdict).toEqual({ valid: false, notes: [expect.stringContaining(why)] });
    });

    const messages = async (levels?: readonly string[]): Promise<string[]> =>
      (await host.ask<HostLine[]>('logs'))
        .filter((line) => levels === undefined || levels.includes(line['@level']))
        .map((line) => line['@message']);

    describe('its end', () => {
      test('comes in order when the host shuts it down, and nothing is left', async () => {
        await configure(await world.mapping(MAPPING));
        await host.ask('deinit');
        // The streams of the broker and of standard output stay open as long as the plugin runs.
        expect(await messages()).not.toContain('received EOF, stopping recv loop');
        expect(await host.ask('kill')).toEqual({ exited: true, killed: false });
        await isGone(plugin.pid);
        expect(world.socketFolders()).toEqual([]);
        expect(await messages(['warn', 'error'])).toEqual([]);
      });

      test('comes when the host is killed, and nothing is left', async () => {
        await host.murder();
        await isGone(plugin.pid);
        expect(world.socketFolders()).toEqual([]);
      });

      test('is not Ctrl+C, which is for the host to decide on; SIGTERM is', async () => {
        process.kill(plugin.pid, 'SIGINT');
        await host.ask('ping');
        process.kill(plugin.pid, 'SIGTERM');
        await isGone(plugin.pid);
        const ended = await eventually('its last line', async () => {
          const lines = (await host.ask<HostLine[]>('logs')).filter((line) => line['@message'] === 'ended');
          return lines.length > 0 && lines;
        });
        expect(ended).toMatchObject([{ why: 'SIGTERM' }]);
        expect(world.socketFolders()).toEqual([]);
      });

      test('by SIGKILL leaves a folder, which the next one takes away once it is old', async () => {
        const [left = ''] = world.socketFolders();
        process.kill(plugin.pid, 'SIGKILL');
        await isGone(plugin.pid);
        await world.host().start();
        expect(world.socketFolders()).toContain(left);
        const before = new Date(Date.now() - 3600_000);
        for (const folder of world.socketFolders()) await utimes(join(world.temporary, folder), before, before);
        await world.host().start();
        expect(world.socketFolders()).not.toContain(left);
        expect(world.socketFolders()).toHaveLength(2);
      });

      test('of one leaves another one, of another host, as it is', async () => {
        const other = world.host();
        const { socket } = await other.start({ diesWithUs: true });
        expect(socket).not.toBe(plugin.socket);
        await configure(await world.mapping(MAPPING));
        await configure(await world.mapping(MAPPING.replace('tier: master', 'tier: apprentice'), 'other.yaml'), other);
        const ask = { spiffeId: id('/ann'), claims: { sub: id('/ann') } };
        expect(await host.ask('compose', ask)).toMatchObject({ tier: 'master' });
        await host.ask('kill');
        expect(await other.ask('compose', ask)).toMatchObject({ tier: 'apprentice' });
      });
    });

    describe('a host', () => {
      test('that has pinned the program starts that one and no other', async () => {
        const sum = createHash('sha256')
          .update(await readFile(PLUGIN))
          .digest('hex');
        await world.host().start({ checksum: sum });
        await expect(world.host().start({ checksum: sum.replace(/./g, '0') })).rejects.toThrow(
          'checksums did not match',
        );
      });

      test.each([
        ['loads another kind of plugin', { cookie: 'NodeAttestor' }, 'this is a plugin of SPIRE'],
        ['speaks another version', { version: 2 }, 'this is version 1'],
        ['asks for TLS', { tls: true }, 'asks for TLS'],
        ['names a folder for sockets that is not there', { env: { PLUGIN_UNIX_SOCKET_DIR: '/none' } }, 'ENOENT'],
      ])('that %s is told why not', async (_, options, why) => {
        const other = world.host();
        await expect(other.start(options)).rejects.toBeInstanceOf(HostFailure);
        await eventually(why, async () => JSON.stringify(await other.ask('logs')).includes(why));
      });
    });
  });
});

function id(path: string): SpiffeId {
  const parsed = parseSpiffeId(`spiffe://${TRUST_DOMAIN}${path}`);
  if (parsed === undefined) throw new Error(`not a path: ${path}`);
  return parsed;
}

function bytes(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, 'base64'));
}
