/** What SPIRE's server asks of a credential composer: how it is configured, and what each SVID is to say. */
import { create, type JsonObject } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  type ComposeWorkloadJWTSVIDRequest,
  type ComposeWorkloadJWTSVIDResponse,
  ComposeWorkloadJWTSVIDResponseSchema,
  type ComposeWorkloadX509SVIDRequest,
  type ComposeWorkloadX509SVIDResponse,
  ComposeWorkloadX509SVIDResponseSchema,
  type X509Extension,
  X509ExtensionSchema,
} from '../../protocol/gen/spire/credential-composer_pb.ts';
import { NETWORK_POLICY_EXTENSION, SAT_CLAIMS } from '../../protocol/identity/claims.ts';
import {
  isTrustDomain,
  parseSpiffeId,
  pathOf,
  type SpiffeId,
  trustDomainOf,
} from '../../protocol/identity/spiffe-id.ts';
import type { Log } from './log.ts';
import type { Mapping, Rights } from './mapping.ts';
import { loadMapping } from './mapping-file.ts';
import { parsePluginData } from './plugin-data.ts';

/** A configuration as SPIRE's Config service hands it over. */
export interface Configuration {
  readonly trustDomain: string;
  /** The text of `plugin_data`. */
  readonly pluginData: string;
}

/**
 * Writes tier, scopes and network policy into workloads' SVIDs. Those claims and that extension are this composer's
 * alone: what a composer before it, or anything else, put there under the same names is taken out, so that an identity
 * without an entry has none. Until it is configured it composes nothing, and so SPIRE issues nothing.
 */
export class TierComposer {
  readonly #log: Log;
  readonly #load: typeof loadMapping;
  #configured: { readonly trustDomain: string; readonly mapping: Mapping } | undefined;
  #configuring: Promise<void> = Promise.resolve();
  #hasWarned = false;

  /** @param load reads what `plugin_data` names. */
  constructor(log: Log, load: typeof loadMapping = loadMapping) {
    this.#log = log;
    this.#load = load;
  }

  /**
   * Reads the mapping anew; the former one holds until the new one is good, and stays when it is not. Calls take effect
   * in their order. Throws MALFORMED or INTERNAL, saying where.
   */
  async configure(configuration: Configuration): Promise<void> {
    // One after another: of two at once the one whose file is read faster would otherwise be the one that is forgotten.
    const turn = this.#configuring.then(() => this.#take(configuration));
    this.#configuring = turn.catch(() => undefined);
    await turn;
  }

  /** As `configure`, but nothing is taken over. */
  async validate(configuration: Configuration): Promise<void> {
    await this.#read(configuration);
  }

  /** Throws MALFORMED for a request that SPIRE does not make, INTERNAL before the first configuration. */
  composeJwtSvid(request: ComposeWorkloadJWTSVIDRequest): ComposeWorkloadJWTSVIDResponse {
    const { id, rights } = this.#rightsOf(request.spiffeId);
    const { attributes } = request;
    if (attributes?.claims === undefined) throw new ShellstreamError('MALFORMED', 'no claims to add to');
    // A token is the subject's, whatever the request's other field says; the two must be one.
    if (attributes.claims.sub !== id) throw new ShellstreamError('MALFORMED', 'claims of another subject');
    const others = Object.entries(attributes.claims).filter(([claim]) => !OWN_CLAIMS.has(claim));
    this.#warnOf(id, others.length < Object.keys(attributes.claims).length);
    // Set on the request's own message: it keeps the fields that a later SPIRE may send and this schema does not know.
    attributes.claims = Object.fromEntries([...others, ...Object.entries(claimsOf(rights))]);
    return create(ComposeWorkloadJWTSVIDResponseSchema, { attributes });
  }

  /** Throws as `composeJwtSvid`. */
  composeX509Svid(request: ComposeWorkloadX509SVIDRequest): ComposeWorkloadX509SVIDResponse {
    const { id, rights } = this.#rightsOf(request.spiffeId);
    const { attributes } = request;
    if (attributes === undefined) throw new ShellstreamError('MALFORMED', 'no attributes to add to');
    const others = attributes.extraExtensions.filter(({ oid }) => oid !== NETWORK_POLICY_EXTENSION);
    this.#warnOf(id, others.length < attributes.extraExtensions.length);
    attributes.extraExtensions = [...others, ...extensionsOf(rights)];
    return create(ComposeWorkloadX509SVIDResponseSchema, { attributes });
  }

  async #take(configuration: Configuration): Promise<void> {
    const { mapping, sha256, file } = await this.#read(configuration);
    const { trustDomain } = configuration;
    this.#configured = { trustDomain, mapping };
    this.#log.info('mapping taken over', { file, sha256, entries: mapping.size, trust_domain: trustDomain });
  }

  async #read({ trustDomain, pluginData }: Configuration) {
    if (!isTrustDomain(trustDomain)) throw new ShellstreamError('MALFORMED', 'the configuration names no trust domain');
    const options = parsePluginData(pluginData);
    return { ...(await this.#load(options, trustDomain)), file: options.mappingFile };
  }

  #rightsOf(text: string): { readonly id: SpiffeId; readonly rights: Rights } {
    if (this.#configured === undefined) throw new ShellstreamError('INTERNAL', 'not configured yet');
    const { trustDomain, mapping } = this.#configured;
    const id = parseSpiffeId(text);
    if (id === undefined || pathOf(id) === '')
      throw new ShellstreamError('MALFORMED', 'not the SPIFFE ID of a workload');
    if (trustDomainOf(id) !== trustDomain)
      throw new ShellstreamError('MALFORMED', `not of the trust domain ${trustDomain}`);
    return { id, rights: mapping.rightsOf(id) };
  }

  /** Once is enough: a composer in front of this one writes them every time. */
  #warnOf(id: SpiffeId, hasForeign: boolean): void {
    if (!hasForeign || this.#hasWarned) return;
    this.#hasWarned = true;
    this.#log.warn('took out what another composer wrote under our names', { first_seen_for: id });
  }
}

function claimsOf({ tier, scopes, networkPolicy }: Rights): JsonObject {
  return {
    ...(tier === undefined ? {} : { [SAT_CLAIMS.tier]: tier }),
    ...(scopes === undefined ? {} : { [SAT_CLAIMS.scopes]: [...scopes] }),
    ...(networkPolicy === undefined ? {} : { [SAT_CLAIMS.networkPolicy]: networkPolicy }),
  };
}

function extensionsOf({ networkPolicy }: Rights): X509Extension[] {
  if (networkPolicy === undefined) return [];
  const value = Uint8Array.of(DER_OCTET_STRING, SHA256_BYTES, ...Buffer.from(networkPolicy, 'hex'));
  return [create(X509ExtensionSchema, { oid: NETWORK_POLICY_EXTENSION, value, critical: false })];
}

const OWN_CLAIMS: ReadonlySet<string> = new Set(Object.values(SAT_CLAIMS));
const DER_OCTET_STRING = 0x04;
const SHA256_BYTES = 32;
