import { defineConfig } from 'vitest/config';

/** The limits only end what hangs: a test may wait several times, and each wait has an end of its own that says for what. */
const ONE_AFTER_ANOTHER = { fileParallelism: false, testTimeout: 180_000, hookTimeout: 180_000 };

/**
 * Three projects. `unit` lies beside the code it tests and needs nothing of the host. `system` makes namespaces, devices and
 * eBPF programs, which are the whole host's, so its files run one after another. `long` is the same, for what takes half
 * a minute or more a file.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{protocol,src,certs-dev,bench,fuzz,deploy}/**/*.test.ts'],
          maxWorkers: 2,
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'system',
          include: ['{test,native}/**/*.test.ts'],
          exclude: ['**/target/**', '**/node_modules/**', 'test/long/**'],
          ...ONE_AFTER_ANOTHER,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'long',
          include: ['test/long/**/*.test.ts'],
          ...ONE_AFTER_ANOTHER,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
