/** Every key of `shellstream quartermaster`'s file; `deploy/quartermaster.example.yaml` explains each. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { TIERS } from '../../protocol/capability/model.ts';
import { parsed, spiffeIdField, spiffeIdPatternField } from '../../protocol/document/fields.ts';
import { readDocument } from '../../protocol/document/read-document.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { isKeyName, type NoteKey, parseVerifierKey } from '../../protocol/evidence/index.ts';
import { tryParseAddress } from '../../protocol/net/address.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { LOG_LEVELS } from '../base/logger.ts';

const absolutePath = z
  .string()
  .max(255)
  .regex(/^\/[^\0]*$/, 'an absolute path');
const ipAddress = z.string().refine((text) => tryParseAddress(text) !== undefined, 'not an IP address');
const verifierKey: z.ZodType<NoteKey> = parsed((text) => parseVerifierKey(nodeCrypto.sha256, text));

const schema = z
  .strictObject({
    apiVersion: z.literal('shellstream/v1'),
    listen: z
      .strictObject({ address: ipAddress.default('::'), port: z.int().min(0).max(65_535).default(7844) })
      .prefault({}),
    workloadApi: z.strictObject({ socket: absolutePath.default('/run/spire/agent/public/api.sock') }).prefault({}),
    stateDirectory: absolutePath.default('/var/lib/shellstream/quartermaster'),
    runtimeDirectory: absolutePath.default('/run/shellstream/quartermaster'),
    submitters: z
      .array(
        z.strictObject({ spiffeId: spiffeIdField, origin: z.string().refine(isKeyName, 'not the origin of a log') }),
      )
      .max(4_096)
      .default([]),
    readers: z
      .array(z.strictObject({ pattern: spiffeIdPatternField, tier: z.enum(TIERS) }))
      .max(256)
      .default([]),
    proposals: z
      .strictObject({
        proposers: z.array(spiffeIdPatternField).min(1).max(256),
        issuers: z.array(verifierKey).min(1).max(16),
      })
      .optional(),
    console: z
      .strictObject({ siteOwners: z.array(z.int().min(0).max(4_294_967_294)).max(64).default([0]) })
      .prefault({}),
    budgetMegabytes: z.int().min(8).max(16_777_216).default(65_536),
    retentionDays: z.int().min(1).max(36_500).default(365),
    /** Without it this process stands alone. */
    nats: z
      .strictObject({
        servers: z
          .array(z.string().regex(/^[a-zA-Z0-9.:[\]-]{1,255}$/, 'HOST:PORT'))
          .min(1)
          .max(16),
        name: z
          .string()
          .regex(/^[a-z0-9-]{1,32}$/, '1 to 32 of a-z, 0-9 and dash')
          .default('quartermaster'),
        copies: z.int().min(1).max(5).default(3),
        tls: z.strictObject({ caFile: absolutePath, certFile: absolutePath, keyFile: absolutePath }).optional(),
      })
      .optional(),
    log: z.strictObject({ level: z.enum(LOG_LEVELS).default('info'), file: absolutePath.optional() }).prefault({}),
  })
  .superRefine(({ submitters }, context) => {
    const origins = new Set<string>();
    for (const [at, { origin }] of submitters.entries()) {
      // Two writers of one log would be two histories under one name.
      if (origins.has(origin))
        context.addIssue({ code: 'custom', path: ['submitters', at, 'origin'], message: 'an origin twice' });
      origins.add(origin);
    }
  });

export type QuartermasterConfig = z.output<typeof schema>;

/** Reads one YAML file. Throws MALFORMED with `path:line:column` for what does not fit. */
export async function loadQuartermasterConfig(path: string): Promise<QuartermasterConfig> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new ShellstreamError('INTERNAL', `${path}: ${cause instanceof Error ? cause.message : 'cannot be read'}`, {
      cause,
    });
  });
  return parseQuartermasterConfig(bytes, path);
}

/** `name` stands in front of each error. */
export function parseQuartermasterConfig(bytes: Uint8Array, name: string): QuartermasterConfig {
  return readDocument(name, bytes, () => schema).value;
}
