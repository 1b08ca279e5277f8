import { expect, test } from 'vitest';
import { type JailOptions, jailCommand } from './jail.ts';

const CHECKOUT: JailOptions = {
  node: '/opt/node/bin/node',
  packageRoot: '/root/private/shellstream',
  entry: '/root/private/shellstream/src/roots/shellstream.ts',
  args: ['terminator', '--instance', 'main'],
  uid: 61_500,
  gid: 61_501,
  env: { TZ: 'UTC' },
};
const INSTALLED: JailOptions = {
  ...CHECKOUT,
  packageRoot: '/srv/gateway/node_modules/shellstream',
  entry: '/srv/gateway/node_modules/shellstream/dist/src/roots/shellstream.js',
};
const at = (folder: string) => (path: string) => path === `${folder}/node_modules/ws`;

test('a checkout is there in part, under a neutral path, and its entry at that path', () => {
  const { args } = jailCommand(CHECKOUT, at('/root/private/shellstream'));
  expect(mounts(args)).toMatchObject({
    '/app/src': '/root/private/shellstream/src',
    '/app/native/crypto/crypto.node': '/root/private/shellstream/native/crypto/crypto.node',
    '/app/node_modules': '/root/private/shellstream/node_modules',
    '/node': '/opt/node/bin/node',
  });
  expect(args.slice(-4)).toEqual(['/app/src/roots/shellstream.ts', 'terminator', '--instance', 'main']);
});

test('a package with its own dependencies is there by its build', () => {
  const { args } = jailCommand(INSTALLED, at(INSTALLED.packageRoot));
  expect(mounts(args)).toMatchObject({
    '/app/dist/src': `${INSTALLED.packageRoot}/dist/src`,
    '/app/dist/package.json': `${INSTALLED.packageRoot}/dist/package.json`,
    '/app/node_modules': `${INSTALLED.packageRoot}/node_modules`,
  });
  expect(args).toContain('/app/dist/src/roots/shellstream.js');
});

test('a package among its dependencies is there with them', () => {
  const { args } = jailCommand(INSTALLED, at('/srv/gateway'));
  expect(mounts(args)).toMatchObject({ '/app/node_modules': '/srv/gateway/node_modules' });
  expect(args).toContain('/app/node_modules/shellstream/dist/src/roots/shellstream.js');
});

test('the privileged addon, the eBPF programs and what lies beside the package are not there', () => {
  const { args } = jailCommand(CHECKOUT, at('/root/private'));
  expect(args.filter((arg) => /native\/(kernel|bpf)|certs-dev|\.git|\/run|\/sys\b|\/home|\/var/.test(arg))).toEqual([]);
  expect(args.filter((arg) => arg === '/root/private' || arg === '/root/private/shellstream')).toEqual([]);
});

test('nothing of the host may be written', () => {
  const { args } = jailCommand(CHECKOUT, at(CHECKOUT.packageRoot));
  const writable = args.filter((arg) => /^--(dev-)?bind/.test(arg));
  expect(writable).toEqual(['--dev-bind', '--dev-bind']);
  const sealed = args.filter((_, index) => args[index - 1] === '--remount-ro');
  expect(sealed).toEqual(['/proc', '/tmp', '/']);
});

test('the environment is cleared but for what is asked for', () => {
  const { args } = jailCommand(CHECKOUT, at(CHECKOUT.packageRoot));
  expect(args).toContain('--clearenv');
  expect(args.join(' ')).toContain('--setenv TZ UTC');
});

test.each([{ uid: 0 }, { gid: 0 }, { uid: -1 }, { uid: 1.5 }, { gid: Number.NaN }])(
  'root, or what is no id, is refused: %o',
  (ids) => {
    expect(() => jailCommand({ ...CHECKOUT, ...ids }, at(CHECKOUT.packageRoot))).toThrow('a jail is not for');
  },
);

test.each(['/etc/passwd', '/root/private/other/src/a.ts', '/root/private/shellstream/test/a.ts'])(
  'an entry that is not of the package is refused: %s',
  (entry) => {
    expect(() => jailCommand({ ...CHECKOUT, entry }, at(CHECKOUT.packageRoot))).toThrow('no entry');
  },
);

test('a package without its dependencies is refused', () => {
  expect(() => jailCommand(CHECKOUT, () => false)).toThrow('are not installed');
});

/** Inner path to outer. */
function mounts(args: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [index, arg] of args.entries()) {
    const [source, target] = [args[index + 1], args[index + 2]];
    if (arg === '--ro-bind' && source !== undefined && target !== undefined) found[target] = source;
  }
  return found;
}
