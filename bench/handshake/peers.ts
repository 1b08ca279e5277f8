import { fileURLToPath } from 'node:url';
import type { Contender } from '../harness.ts';
import { goProgram } from '../peers/go-program.ts';
import type { Identities } from './identities.ts';
import { serverSubject } from './server-subject.ts';
import { echoOnce, provesMutualTls } from './ws-client.ts';

/** Others' way to a mutually authenticated WebSocket, and the floor of ours. */
export function handshakePeers(identities: Identities): readonly Contender[] {
  const mutualTls = {
    args: [identities.directory, identities.client.id],
    session: (port: number) => echoOnce(`wss://127.0.0.1:${port}`, identities),
    proof: (port: number) => provesMutualTls(`wss://127.0.0.1:${port}`, identities),
  };
  return [
    {
      name: 'node-wss-mtls',
      start: () =>
        serverSubject({
          ...mutualTls,
          command: process.execPath,
          args: [file('node-wss-mtls.server.ts'), ...mutualTls.args],
        }),
    },
    {
      name: 'go-tls-ws',
      start: async () => serverSubject({ ...mutualTls, command: await goProgram('go-tls-ws') }),
    },
    {
      name: 'primitives',
      start: () =>
        serverSubject({
          command: process.execPath,
          args: [file('primitives.server.ts')],
          session: (port) => echoOnce(`ws://127.0.0.1:${port}`),
        }),
    },
  ];
}

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
