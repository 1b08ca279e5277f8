/** Configurations of a SPIRE server and agent that talk on loopback and keep everything in one folder. */
export interface Place {
  readonly trustDomain: string;
  readonly folder: string;
  readonly port: number;
}

/** The credential composer that a server starts. */
export interface Composer {
  readonly command: string;
  /** SHA-256 of the command's file, hex. */
  readonly checksum: string;
  /** What the plugin is told: in the server's configuration, or in a file that SIGUSR1 makes the server read again. */
  readonly data: { readonly inline: string } | { readonly file: string };
}

/** Keys are on disk, so that a server that comes back is the same authority. */
export function serverConfig({ trustDomain, folder, port }: Place, composer?: Composer): string {
  return `server {
  bind_address = "127.0.0.1"
  bind_port = "${port}"
  socket_path = "${folder}/server.sock"
  trust_domain = "${trustDomain}"
  data_dir = "${folder}"
  log_level = "WARN"
  default_x509_svid_ttl = "10m"
  default_jwt_svid_ttl = "5m"
  experimental {
    cache_reload_interval = "500ms"
  }
}

plugins {
  DataStore "sql" {
    plugin_data {
      database_type = "sqlite3"
      connection_string = "${folder}/datastore.sqlite3"
    }
  }
  KeyManager "disk" {
    plugin_data {
      keys_path = "${folder}/server-keys.json"
    }
  }
  NodeAttestor "join_token" {
    plugin_data {}
  }
${composer === undefined ? '' : composerConfig(composer)}}
`;
}

function composerConfig({ command, checksum, data }: Composer): string {
  const told = 'file' in data ? `plugin_data_file = "${data.file}"` : `plugin_data {\n      ${data.inline}\n    }`;
  return `  CredentialComposer "shellstream" {
    plugin_cmd = "${command}"
    plugin_checksum = "${checksum}"
    ${told}
  }
`;
}

export function agentConfig({ trustDomain, folder, port }: Place): string {
  return `agent {
  data_dir = "${folder}/agent"
  log_level = "WARN"
  server_address = "127.0.0.1"
  server_port = "${port}"
  socket_path = "${folder}/agent.sock"
  trust_bundle_path = "${folder}/bundle.pem"
  trust_domain = "${trustDomain}"
  experimental {
    sync_interval = "500ms"
  }
}

plugins {
  KeyManager "disk" {
    plugin_data {
      directory = "${folder}/agent"
    }
  }
  NodeAttestor "join_token" {
    plugin_data {}
  }
  WorkloadAttestor "unix" {
    plugin_data {}
  }
}
`;
}
