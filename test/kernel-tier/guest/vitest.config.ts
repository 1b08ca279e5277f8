import { defineConfig } from 'vitest/config';

/** What runs on the machine's kernel, one file after another; patient, since an emulated processor is ten times slower. */
export default defineConfig({
  test: {
    include: ['test/kernel-tier/guest/*.guest.ts', 'test/dataplane/{network,attachment,enforcement}.test.ts'],
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});
