/** go-plugin's handshake: what the host says in the environment, and the one line that answers it. */

/** SPIRE's name of the plugin's kind: name and value of the variable that tells a program that it runs as such a plugin. */
const COOKIE = 'CredentialComposer';
/** Of go-plugin itself, and of SPIRE's plugins on top of it. */
const CORE_VERSION = 1;
const APP_VERSION = '1';

export type Environment = Readonly<Record<string, string | undefined>>;

export type Call =
  | { readonly kind: 'plugin' /** Where sockets go. */; readonly folder: string }
  | { readonly kind: 'refused'; readonly why: string };

/** @param temporary where sockets go unless the host says otherwise. */
export function readCall(environment: Environment, temporary: string): Call {
  const { [COOKIE]: cookie, PLUGIN_PROTOCOL_VERSIONS: versions, PLUGIN_CLIENT_CERT: certificate } = environment;
  if (cookie !== COOKIE)
    return { kind: 'refused', why: 'this is a plugin of SPIRE: name it as plugin_cmd of a CredentialComposer' };
  if (versions !== undefined && !versions.split(',').includes(APP_VERSION))
    return {
      kind: 'refused',
      why: `the host speaks versions ${versions} of the plugin protocol, and this is version 1`,
    };
  // The host would take an answer without a certificate for one that lost it.
  if (certificate !== undefined && certificate !== '')
    return {
      kind: 'refused',
      why: 'the host asks for TLS between itself and its plugins; SPIRE does not, and nor is it here',
    };
  const wanted = environment.PLUGIN_UNIX_SOCKET_DIR;
  return { kind: 'plugin', folder: wanted === undefined || wanted === '' ? temporary : wanted };
}

/** The answer on standard output; nothing else may ever stand there. */
export function answerLine(socketPath: string): string {
  return `${CORE_VERSION}|${APP_VERSION}|unix|${socketPath}|grpc\n`;
}
