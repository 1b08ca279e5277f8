import { readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { readDocument } from '../../protocol/document/read-document.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { configSchema, limits } from './config-schema.ts';

type FileConfig = z.output<typeof configSchema>;

/** The configuration with every default in place, those that hang on the instance's name included. */
export type Config = Omit<FileConfig, 'wireguard' | 'control' | 'evidence' | 'stateDirectory' | 'runtimeDirectory'> & {
  readonly wireguard: FileConfig['wireguard'] & { readonly interface: string };
  readonly control: FileConfig['control'] & { readonly socket: string };
  /** Undefined: it was turned off. */
  readonly evidence: EvidenceConfig | undefined;
  readonly stateDirectory: string;
  readonly runtimeDirectory: string;
  /** Where BPF maps and links are pinned. */
  readonly pinDirectory: string;
};

export type EvidenceConfig = Omit<Exclude<FileConfig['evidence'], 'off'>, 'origin' | 'directory' | 'keys'> & {
  readonly origin: string;
  readonly directory: string;
  /** Files, the current key first. */
  readonly keys: readonly string[];
};

export type MeshPeerConfig = Config['mesh']['peers'][number];

/** Reads one YAML file. Throws MALFORMED with `path:line:column` for what does not fit. */
export async function loadConfig(path: string): Promise<Config> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new ShellstreamError('INTERNAL', `${path}: ${cause instanceof Error ? cause.message : 'cannot be read'}`, {
      cause,
    });
  });
  return parseConfig(bytes, path);
}

/** `name` stands in front of each error. */
export function parseConfig(source: string | Uint8Array, name = 'config'): Config {
  const bytes = typeof source === 'string' ? new TextEncoder().encode(source) : source;
  const { value } = readDocument(name, bytes, () => configSchema);
  const { instance } = value;
  const runtimeDirectory = value.runtimeDirectory ?? `/run/shellstream/${instance}`;
  const stateDirectory = value.stateDirectory ?? `/var/lib/shellstream/${instance}`;
  return {
    ...value,
    wireguard: { ...value.wireguard, interface: value.wireguard.interface ?? `${interfacePrefix(instance)}0` },
    control: { ...value.control, socket: value.control.socket ?? `${runtimeDirectory}/control.sock` },
    evidence: value.evidence === 'off' ? undefined : evidenceOf(value, value.evidence, stateDirectory),
    stateDirectory,
    runtimeDirectory,
    pinDirectory: `/sys/fs/bpf/shellstream/${instance}`,
  };
}

function evidenceOf(
  { site, instance }: FileConfig,
  evidence: Exclude<FileConfig['evidence'], 'off'>,
  stateDirectory: string,
): EvidenceConfig {
  const directory = evidence.directory ?? `${stateDirectory}/evidence`;
  return {
    ...evidence,
    origin: evidence.origin ?? `${site.trustDomain}/shellstream/${instance}`,
    directory,
    keys: evidence.keys ?? [`${directory}/log.key`],
  };
}

/** The section `limits` by itself, as one process hands it to another. Throws MALFORMED. */
export function parseLimits(json: string): Config['limits'] {
  const { value } = readDocument('limits', new TextEncoder().encode(json), () => limits);
  return value;
}

/** What the names of all links of an instance begin with. Ends in a dash: `shsa-` is no prefix of `shsab-`. */
export function interfacePrefix(instance: string): string {
  return `shs${instance}-`;
}
