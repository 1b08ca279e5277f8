/** Governed routes at the console's end of the socket. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Ask } from './ask.ts';
import type { RemoteRouteDesk, RoutesView } from './route-desk.ts';
import { decodeLevel } from './wire/decode.ts';
import { decodeDifference, decodeProposal, decodeRecord, encodeChange } from './wire/routes.ts';

export function remoteRoutes(ask: Ask): RemoteRouteDesk {
  return {
    async list() {
      const routes: RoutesView['routes'][number][] = [];
      let after = '';
      for (;;) {
        const { value } = await ask({ case: 'routes', value: { after } }, 'routes');
        routes.push(...value.routes.map(decodeRecord));
        // A gateway whose pages do not move on would keep us asking for ever.
        if (value.next !== '' && value.next <= after) throw new ShellstreamError('MALFORMED', 'pages out of order');
        after = value.next;
        if (after !== '') continue;
        return {
          level: decodeLevel(value.level),
          routes,
          differences: value.differences.map(decodeDifference),
          snapshotAtMs: value.snapshotAtMs === undefined ? undefined : Number(value.snapshotAtMs),
          problem: value.problem,
        };
      }
    },
    async proposals() {
      const all: ReturnType<typeof decodeProposal>[] = [];
      for (;;) {
        const { value } = await ask({ case: 'proposals', value: { skip: all.length } }, 'proposals');
        all.push(...value.proposals.map(decodeProposal));
        if (!value.more || value.proposals.length === 0) return all;
      }
    },
    async change(change) {
      await ask({ case: 'changeRoute', value: { change: encodeChange(change) } }, 'done');
    },
    async issueToken({ subject, tier, validMs }) {
      const value = { subject, tier, validMs: BigInt(validMs) };
      return (await ask({ case: 'routeToken', value }, 'routeToken')).value.token;
    },
    async propose(token, change) {
      const value = { token, change: encodeChange(change) };
      return (await ask({ case: 'proposeRoute', value }, 'proposed')).value.id;
    },
    async approve(id) {
      await ask({ case: 'decideProposal', value: { id, approve: true, reason: '' } }, 'done');
    },
    async reject(id, reason) {
      await ask({ case: 'decideProposal', value: { id, approve: false, reason } }, 'done');
    },
  };
}
