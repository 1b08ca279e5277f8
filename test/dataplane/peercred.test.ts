import { once } from 'node:events';
import { mkdtempDisposableSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { peerCredentialsOf } from '../../src/dataplane/linux/peercred.ts';
import { start } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';

describeWith(['addon kernel'], 'peer credentials', () => {
  test('of a unix socket are those of the process that connected, not of the one that accepted', async () => {
    using folder = mkdtempDisposableSync(join(tmpdir(), 'peercred-'));
    const path = join(folder.path, 'control.sock');
    const server = createServer().listen(path);
    await once(server, 'listening');
    await using client = start(process.execPath, [
      '-e',
      "require('net').connect(process.argv[1]); process.stdin.resume()",
      path,
    ]);
    const [socket] = (await once(server, 'connection')) as [Socket];
    expect(peerCredentialsOf(socket)).toEqual({
      pid: client.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    const closed = once(socket, 'close');
    socket.destroy();
    await closed;
    expect(() => peerCredentialsOf(socket)).toThrow('NOT_AUTHENTICATED');
    server.close();
  });

  test('of a TCP socket are nobody’s: a forwarded port is never the local console', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const client = createConnection(port, '127.0.0.1');
    const [socket] = (await once(server, 'connection')) as [Socket];
    expect(() => peerCredentialsOf(socket)).toThrow('NOT_AUTHENTICATED');
    client.destroy();
    socket.destroy();
    server.close();
  });
});
