/** The gRPC services of the plugin: those of go-plugin, those by which SPIRE sets a plugin up, and the composer's. */
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { ShellstreamError } from '../../protocol/errors.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../protocol/gen/go-plugin/health_pb.ts';
import { GRPCBroker, GRPCController, GRPCStdio } from '../../protocol/gen/go-plugin/plugin_pb.ts';
import { Config, type ConfigureRequest, type ValidateRequest } from '../../protocol/gen/spire/config_pb.ts';
import { CredentialComposer } from '../../protocol/gen/spire/credential-composer_pb.ts';
import { Init } from '../../protocol/gen/spire/init_pb.ts';
import type { Configuration, TierComposer } from './composer.ts';
import type { Log } from './log.ts';

export interface Plugin {
  readonly composer: TierComposer;
  readonly log: Log;
  /** The host wants the plugin to end. */
  shutdown(): void;
}

/** @param closing aborts when the server closes: calls that stay open end then. */
export function routes(router: ConnectRouter, closing: AbortSignal, plugin: Plugin): void {
  goPluginRoutes(router, closing, plugin);
  const { composer, log } = plugin;
  router.service(Init, {
    init: () => ({ pluginServiceNames: [CredentialComposer.typeName, Config.typeName] }),
    deinit: () => ({}),
  });
  router.service(Config, {
    configure: async (request) => {
      try {
        await composer.configure(configurationOf(request));
        return {};
      } catch (error) {
        throw told(error, log);
      }
    },
    validate: async (request) => {
      try {
        await composer.validate(configurationOf(request));
        return { valid: true };
      } catch (error) {
        return { valid: false, notes: [told(error, log).rawMessage] };
      }
    },
  });
  router.service(CredentialComposer, {
    // The server's and its agents' own identities are nobody's who attests to a gateway: as SPIRE makes them.
    composeServerX509CA: () => ({}),
    composeServerX509SVID: () => ({}),
    composeAgentX509SVID: () => ({}),
    composeWorkloadX509SVID: (request) => composing(log, () => composer.composeX509Svid(request)),
    composeWorkloadJWTSVID: (request) => composing(log, () => composer.composeJwtSvid(request)),
  });
}

function goPluginRoutes(router: ConnectRouter, closing: AbortSignal, { shutdown }: Plugin): void {
  router.service(Health, {
    check: ({ service }) => {
      if (service !== '' && service !== 'plugin') throw new ConnectError('no such service', Code.NotFound);
      return { status: HealthCheckResponse_ServingStatus.SERVING };
    },
  });
  router.service(GRPCBroker, {
    // Nothing of the host's is used here. Its offers are taken off the stream, since they would pile up in it otherwise.
    async *startStream(offers, context) {
      const ended = untilEnd(context, closing);
      const drained = (async () => {
        for await (const _ of offers);
      })();
      await Promise.race([ended, drained.catch(() => undefined)]);
      yield* [];
    },
  });
  router.service(GRPCStdio, {
    // All that is said goes to standard error, which the host reads anyway.
    async *streamStdio(_request, context) {
      await untilEnd(context, closing);
      yield* [];
    },
  });
  router.service(GRPCController, {
    shutdown: () => {
      shutdown();
      return {};
    },
  });
}

function composing<T>(log: Log, compose: () => T): T {
  try {
    return compose();
  } catch (error) {
    throw told(error, log);
  }
}

function configurationOf({ coreConfiguration, hclConfiguration }: ConfigureRequest | ValidateRequest): Configuration {
  return { trustDomain: coreConfiguration?.trustDomain ?? '', pluginData: hclConfiguration };
}

/** Never UNIMPLEMENTED: SPIRE would take that for consent to what it has, and issue. */
function told(error: unknown, log: Log): ConnectError {
  if (error instanceof ShellstreamError) {
    const text = error.message.slice(error.reason.length + 2);
    return new ConnectError(text, error.reason === 'MALFORMED' ? Code.InvalidArgument : Code.FailedPrecondition);
  }
  log.error('an unexpected error', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  return new ConnectError('a fault of the plugin; its log says more', Code.Internal);
}

function untilEnd({ signal }: HandlerContext, closing: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const either = AbortSignal.any([signal, closing]);
    if (either.aborted) resolve();
    else either.addEventListener('abort', () => resolve(), { once: true });
  });
}
