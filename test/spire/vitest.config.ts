import { defineConfig } from 'vitest/config';

/** Suites against a real SPIRE: one after another, and patient, since an agent sees changes a sync interval later. */
export default defineConfig({
  test: {
    include: ['test/spire/*.spire.ts'],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
