/** protocol/README.md is what others implement: its tables and labels are read back here and held to the code. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MAX_GRANT_BYTES } from './channel/grant.ts';
import {
  DATA_HEADER_BYTES,
  DEFAULT_MAX_STREAMS,
  DEFAULT_WINDOW_BYTES,
  encodeFrame,
  FRAME_TYPE,
  MAX_DATA_BYTES,
  MAX_REATTEST_BYTES,
} from './channel/index.ts';
import {
  EVIDENCE_CONTEXT,
  LIMITS,
  PROLOGUE,
  REATTEST_PROLOGUE,
  RECORD,
  SAT_LABEL,
  SECRET_LABELS,
  WIREGUARD_LABEL,
} from './handshake/constants.ts';
import { REASONS, type Reason, wireCode } from './reasons.ts';
import { MAX_CAPABILITIES, MAX_PREFIXES, MAX_TARGETS } from './wire/convert.ts';

const text = readFileSync(new URL('README.md', import.meta.url), 'utf8');

describe('protocol/README.md', () => {
  it('names every record type with its number, and no other', () => {
    const said = rows('| type | record |').map(([number, name]) => [name?.replace(/^ATTEST-/, ''), Number(number)]);
    expect(Object.fromEntries(said)).toEqual(RECORD);
  });

  it('names every frame type with its number and the longest body', () => {
    const table = rows('| type | frame |');
    expect(Object.fromEntries(table.map(([number, name]) => [name, Number(number)]))).toEqual(FRAME_TYPE);
    const longest = Object.fromEntries(table.map(([, name, , most]) => [name, count(most)]));
    expect(longest).toMatchObject({ GRANT: MAX_GRANT_BYTES, REATTEST: MAX_REATTEST_BYTES + 8, DRAINED: 0 });
    const data = encodeFrame({ type: 'STREAM_DATA', stream: 1, data: new Uint8Array(MAX_DATA_BYTES) });
    expect(longest.STREAM_DATA).toBe(data.length - 1);
    expect(DATA_HEADER_BYTES).toBe(5);
  });

  it('gives the limits that the parsers have', () => {
    const said = Object.fromEntries(rows('| what | at most |').map(([what = '', most]) => [what, count(most)]));
    expect(said).toEqual({
      '`AttestInit`, bytes': LIMITS.initPayloadBytes,
      'an `Evidence`, bytes': LIMITS.evidenceBytes,
      'a body, bytes': LIMITS.bodyBytes,
      'certificates in a chain (at least 1)': LIMITS.chainLength,
      'a certificate, bytes': LIMITS.certificateBytes,
      'a signature, bytes': LIMITS.signatureBytes,
      'a SAT, bytes': LIMITS.satBytes,
      'a SPIFFE ID, bytes': LIMITS.spiffeIdBytes,
      'versions (at least 1)': LIMITS.versions,
      'capabilities, none twice': MAX_CAPABILITIES,
      'targets, in each list': MAX_TARGETS,
      'prefixes, in each list': MAX_PREFIXES,
      'tunnel addresses (at least 1)': LIMITS.tunnelAddresses,
    });
    expect(text).toContain(`record** of 1 to ${LIMITS.recordBytes.toLocaleString('en')} bytes`);
    expect(text).toContain(`usual window is ${DEFAULT_WINDOW_BYTES.toLocaleString('en')} bytes`);
    expect(text).toContain(`${DEFAULT_MAX_STREAMS} streams of each side`);
  });

  it('lists every reason code that can be on the wire with its meaning, and says what the others are told as', () => {
    const onTheWire = (Object.keys(REASONS) as Reason[]).filter((name) => wireCode(name) === REASONS[name].code);
    expect(rows('| code | name |')).toEqual(
      onTheWire.map((name) => [String(REASONS[name].code), name, REASONS[name].text]),
    );
    const told = (name: Reason): number => wireCode(name);
    expect([told('DECRYPT_FAILED'), told('DOWNGRADE'), told('WIREGUARD_PROOF'), told('WIREGUARD_KEY_TAKEN')]).toEqual([
      200, 200, 200, 200,
    ]);
    expect([told('RATE_LIMITED'), told('SESSION_LIMIT'), told('DATAPLANE_FULL'), told('DATAPLANE_FAILED')]).toEqual([
      400, 400, 400, 900,
    ]);
  });

  it('spells the labels as they are hashed', () => {
    const label = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
    expect(text).toContain(`Prologue: \`${label(PROLOGUE)}\``);
    expect(text).toContain(`prologue \`${label(REATTEST_PROLOGUE)}\``);
    expect(text).toContain(`"${label(SAT_LABEL)}"`);
    expect(text).toContain(`"${label(WIREGUARD_LABEL)}"`);
    expect(label(EVIDENCE_CONTEXT)).toBe(`${' '.repeat(64)}shellstream/1 attest\0`);
    expect(text).toContain('64 × 0x20 ‖ "shellstream/1 attest" ‖ 0x00');
    expect(rows('| info | length |').map(([info]) => info)).toEqual(
      Object.values(SECRET_LABELS).map((bytes) => `\`${label(bytes)}\``),
    );
  });
});

/** The cells of the table whose head begins like this, without head and rule. */
function rows(head: string): string[][] {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.startsWith(head));
  expect(at, `a table ${head}`).toBeGreaterThan(0);
  const body = lines.slice(at + 2);
  const end = body.findIndex((line) => !line.startsWith('|'));
  return body.slice(0, end < 0 ? undefined : end).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}

function count(cell: string | undefined): number {
  return Number((cell ?? '').replaceAll(',', ''));
}
