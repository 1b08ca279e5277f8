/** What a level would do, between the words of `ports.ts` and the messages of shellstream.control.v1. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { SESSION_TYPES } from '../../../protocol/capability/model.ts';
import type {
  PosturePreviewSchema,
  PosturePreview as Wire,
  PreviewedRoutes as WireRoutes,
} from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { PREVIEWED_FATES } from '../../../protocol/posture/index.ts';
import type { PosturePreview, PreviewedRoutes } from '../ports.ts';
import { decodeLevel } from './decode.ts';
import { word } from './words.ts';

export function encodePreview(preview: PosturePreview): MessageInitShape<typeof PosturePreviewSchema> {
  const { from, to, counts, sessions, isolates, withdrawn, restored } = preview;
  return {
    from,
    to,
    counts: PREVIEWED_FATES.map((fate) => ({ fate, sessions: counts[fate] })),
    sessions: [...sessions],
    isolates: [...isolates],
    withdrawn: { count: withdrawn.count, first: [...withdrawn.first] },
    restored: { count: restored.count, first: [...restored.first] },
  };
}

export function decodePreview(preview: Wire): PosturePreview {
  const { from, to, counts, sessions, isolates, withdrawn, restored } = preview;
  const of = (fate: string): number => counts.find((count) => count.fate === fate)?.sessions ?? 0;
  return {
    from: decodeLevel(from),
    to: decodeLevel(to),
    counts: { keep: of('keep'), reattest: of('reattest'), narrow: of('narrow'), drain: of('drain'), end: of('end') },
    sessions: sessions.map(({ id, peer, type, fate, deadlineMs }) => ({
      id,
      peer,
      type: word(SESSION_TYPES, type),
      fate: word(PREVIEWED_FATES, fate),
      deadlineMs,
    })),
    isolates,
    withdrawn: decodeRoutes(withdrawn),
    restored: decodeRoutes(restored),
  };
}

function decodeRoutes(routes: WireRoutes | undefined): PreviewedRoutes {
  return { count: routes?.count ?? 0, first: routes?.first ?? [] };
}
