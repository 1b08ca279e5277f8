/** All records in a spool that nobody has open: notarised, then left out, each in its order. */
import { DatabaseSync } from 'node:sqlite';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { CommonParts } from '../../src/evidence/common-parts.ts';
import { SpoolReader } from '../../src/evidence/spool-reader.ts';

export function artifactsIn(path: string): ReturnType<typeof parseArtifact>[] {
  using database = new DatabaseSync(path);
  const { sha256 } = nodeCrypto;
  const reader = new SpoolReader(path, database, sha256, new CommonParts(sha256, database));
  const all = Number.MAX_SAFE_INTEGER;
  return [...reader.entries(0, all), ...reader.leftOut(0, all)].flatMap(({ opening }) =>
    opening === undefined ? [] : [parseArtifact(opening.record)],
  );
}
