/** Waits for each, whatever becomes of the others; then it throws what failed, under one sentence. */
export async function allOf(failed: string, steps: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const ends = await Promise.allSettled(steps);
  const failures = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
  if (failures.length > 0) throw new AggregateError(failures, failed);
}
