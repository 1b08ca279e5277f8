import { expect, test } from 'vitest';
import { answerLine, readCall } from './handshake.ts';

const COOKIE = { CredentialComposer: 'CredentialComposer' };

test.each([
  [COOKIE, '/tmp'],
  [{ ...COOKIE, PLUGIN_PROTOCOL_VERSIONS: '1', PLUGIN_CLIENT_CERT: '', PLUGIN_UNIX_SOCKET_DIR: '' }, '/tmp'],
  [{ ...COOKIE, PLUGIN_PROTOCOL_VERSIONS: '2,1', PLUGIN_UNIX_SOCKET_DIR: '/run/x' }, '/run/x'],
])('%j is the call of a host', (environment, folder) => {
  expect(readCall(environment, '/tmp')).toEqual({ kind: 'plugin', folder });
});

test.each([
  [{}, 'a plugin of SPIRE'],
  [{ CredentialComposer: 'NodeAttestor' }, 'a plugin of SPIRE'],
  [{ ...COOKIE, PLUGIN_PROTOCOL_VERSIONS: '2,11' }, 'versions 2,11'],
  [{ ...COOKIE, PLUGIN_CLIENT_CERT: '-----BEGIN' }, 'TLS'],
])('%j is refused', (environment, why) => {
  expect(readCall(environment, '/tmp')).toEqual({ kind: 'refused', why: expect.stringContaining(why) });
});

test('the answer is the line that go-plugin reads', () => {
  expect(answerLine('/tmp/x/socket')).toBe('1|1|unix|/tmp/x/socket|grpc\n');
});
