/** Evidence at the console's end of the socket. */
import type { Answer, AnswerOf, Asked } from './ask.ts';
import type { RemoteEvidenceDesk } from './evidence-desk.ts';
import { decodeProven, decodeRecords, decodeTended } from './wire/evidence.ts';

type Ask = <Case extends NonNullable<Answer['case']>>(asked: Asked, expected: Case) => Promise<AnswerOf<Case>>;

export function remoteEvidence(ask: Ask): RemoteEvidenceDesk {
  return {
    async list({ kind, level, after }) {
      const value = { kind, level, after: after === undefined ? undefined : BigInt(after) };
      return decodeRecords((await ask({ case: 'listRecords', value }, 'records')).value);
    },
    async show(index) {
      return decodeProven((await ask({ case: 'showRecord', value: { index: BigInt(index) } }, 'record')).value);
    },
    async tend(act) {
      return decodeTended((await ask({ case: 'tendLog', value: { act } }, 'logTended')).value);
    },
  };
}
