/** Records on the control socket's wire, there and back. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Tier } from '../../../protocol/capability/model.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import type {
  ListRecordsRequest,
  LogTended,
  LogTendedSchema,
  RecordAnswer,
  RecordAnswerSchema,
  Records,
  RecordsSchema,
} from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import type { Standing } from '../access.ts';
import { type ProvenView, RECORD_KINDS, type RecordPage, type RecordQuery, type TendedLog } from '../evidence-desk.ts';
import { decodeLevel } from './decode.ts';
import { word } from './words.ts';

/** Who may look may see what every tier may. */
export function tierOf(standing: Standing): Tier {
  return standing === 'owner' ? 'site_owner' : 'apprentice';
}

export function decodeQuery({ kind, level, after }: ListRecordsRequest): RecordQuery {
  return {
    kind: kind === undefined ? undefined : word(RECORD_KINDS, kind),
    level: level === undefined ? undefined : decodeLevel(level),
    after: after === undefined ? undefined : index(after),
  };
}

export function encodeRecords({ records, next }: RecordPage): MessageInitShape<typeof RecordsSchema> {
  return {
    records: records.map(({ index: at, kind, record }) => ({ index: BigInt(at), kind, record })),
    next: next === undefined ? undefined : BigInt(next),
  };
}

export function decodeRecords({ records, next }: Records): RecordPage {
  return {
    records: records.map((one) => ({
      index: index(one.index),
      kind: word(RECORD_KINDS, one.kind),
      record: one.record,
    })),
    next: next === undefined ? undefined : index(next),
  };
}

export function encodeProven(proven: ProvenView | undefined): MessageInitShape<typeof RecordAnswerSchema> {
  if (proven === undefined) return {};
  const { index: at, kind, record, salt, proof, size } = proven;
  return { record: { index: BigInt(at), kind, record }, salt, proof: [...proof], size: BigInt(size) };
}

export function decodeProven({ record, salt, proof, size }: RecordAnswer): ProvenView | undefined {
  if (record === undefined) return undefined;
  const kind = word(RECORD_KINDS, record.kind);
  return { index: index(record.index), kind, record: record.record, salt, proof, size: index(size) };
}

export function encodeTended({ verifierKeys, path, size }: TendedLog): MessageInitShape<typeof LogTendedSchema> {
  return { verifierKeys: [...verifierKeys], path, size: BigInt(size) };
}

export function decodeTended({ verifierKeys, path, size }: LogTended): TendedLog {
  return { verifierKeys, path, size: index(size) };
}

export function index(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ShellstreamError('MALFORMED', `${value} is no index`);
  return Number(value);
}
