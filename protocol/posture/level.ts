/** A posture level: 5 is normal, 1 is lockdown. Lower is more restrictive. */
export type PostureLevel = 1 | 2 | 3 | 4 | 5;

export const POSTURE_LEVELS: readonly PostureLevel[] = [5, 4, 3, 2, 1];

export const NORMAL: PostureLevel = 5;
export const LOCKDOWN: PostureLevel = 1;

export function isPostureLevel(value: unknown): value is PostureLevel {
  return value === 1 || value === 2 || value === 3 || value === 4 || value === 5;
}

/** A level from a source of our own (the map, the governance daemon): anything outside 1 to 5 counts as lockdown. */
export function levelFromTrustedSource(value: number): PostureLevel {
  return isPostureLevel(value) ? value : LOCKDOWN;
}

/** The level that governs where several are claimed: the lowest. */
export function mostRestrictive(first: PostureLevel, ...others: readonly PostureLevel[]): PostureLevel {
  return others.reduce((least, level) => Math.min(least, level) as PostureLevel, first);
}
