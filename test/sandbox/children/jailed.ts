/** What a jailed process sees, told by itself on descriptor 3 once it is confined; it answers on TCP. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { loadNativeCrypto } from '../../../src/base/crypto-native.ts';
import { enterSandbox, prepareSandbox } from '../../../src/base/sandbox.ts';

const ENFORCER_FD = 3;
prepareSandbox([ENFORCER_FD]);
const [port = '0', privateFolder = ''] = process.argv.slice(2);

const report = {
  pid: process.pid,
  uid: process.getuid?.(),
  gid: process.getgid?.(),
  groups: process.getgroups?.(),
  environment: Object.keys(process.env),
  status: readFileSync('/proc/self/status', 'utf8'),
  processes: readdirSync('/proc').filter((name) => /^\d+$/.test(name)),
  root: readdirSync('/'),
  application: readdirSync('/app'),
  programs: readdirSync('/usr/bin'),
  hidden: [privateFolder, '/etc/shadow', '/etc/passwd', '/run', '/sys', '/home', '/var', '/root', '/usr/bin/sh'].filter(
    existsSync,
  ),
  written: ['/', '/tmp', '/dev', '/app', '/app/src', '/proc/self'].filter((folder) => mayWrite(`${folder}/new`)),
  crypto: loadNativeCrypto().x25519Generate().publicKey.length,
};

const enforcer = new Socket({ fd: ENFORCER_FD, readable: true, writable: true });
enforcer.on('error', () => process.exit(1));
const server = createServer((socket) => socket.end('from inside'));
server.listen({ port: Number(port), host: '127.0.0.1', reusePort: true }, () => {
  enterSandbox();
  console.log('confined');
  enforcer.write(`${JSON.stringify({ ...report, address: server.address() })}\n`);
});

function mayWrite(path: string): boolean {
  try {
    writeFileSync(path, '');
    return true;
  } catch {
    return false;
  }
}
