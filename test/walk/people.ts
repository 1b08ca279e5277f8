/** Who holds sessions in the walk: every type, tier and mode that go together, asking for all or for little. */
import type { Capability, Mode, SessionType, Tier } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Fate } from './crowd.ts';
import { CLASSES, type Farewell, GIVEN, LEVELS } from './table.ts';

export interface Kind {
  readonly name: string;
  readonly type: SessionType;
  readonly tier: Tier;
  readonly mode: Mode;
  readonly asks: readonly Capability[];
  /** Sessions of this kind at the beginning. */
  readonly count: number;
}

/** 16 kinds of people with two wishes in the overlay, 11 in the underlay: 202 sessions. */
export const KINDS: readonly Kind[] = CLASSES.flatMap(({ type, tiers, modes }) =>
  tiers.flatMap((tier) =>
    modes.flatMap((mode): readonly Kind[] => {
      const all = GIVEN[mode][tier][5];
      const kind = { type, tier, mode };
      const name = `${type} ${tier} ${mode}`;
      if (mode === 'underlay') return all.length === 0 ? [] : [{ ...kind, name, asks: all, count: 6 }];
      return [
        { ...kind, name, asks: all, count: 4 },
        { ...kind, name: `${name} little`, asks: ['OBSERVE'], count: 4 },
      ];
    }),
  ),
);

/** What a newcomer of that kind is answered. */
export function welcome({ type, tier, mode, asks }: Kind, level: PostureLevel): string {
  if (!LEVELS[level].types.includes(type)) return 'POSTURE_TYPE_NOT_ALLOWED';
  const granted = asks.filter((one) => GIVEN[mode][tier][level].includes(one));
  return granted.length === 0 ? 'POSTURE_MODE_NOT_ALLOWED' : granted.join(' ');
}

/** How a session that lives at the level above sees the fall to this one. `granted`: what it has. */
export function farewell(kind: Kind, granted: readonly string[], level: PostureLevel): Farewell {
  const { types, farewells } = LEVELS[level];
  if (!types.includes(kind.type)) return farewells.refused;
  const kept = left(kind, granted, level).length;
  if (kept === 0) return farewells.empty;
  return kept < granted.length ? farewells.wider : 'stays';
}

/** What of it the level still gives. */
export function left({ tier, mode }: Kind, granted: readonly string[], level: PostureLevel): readonly string[] {
  return granted.filter((one) => GIVEN[mode][tier][level].some((given) => given === one));
}

export function farewellOf({ drains, end }: Fate): string {
  const said = drains.map((drain) => `DRAIN ${drain}`);
  return [...said, ...(end === undefined ? [] : [end])].join(', ') || 'stays';
}
