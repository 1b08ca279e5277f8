import { defineConfig } from 'vitest/config';

/**
 * Two projects. `unit` lies beside the code it tests and needs nothing of the host. `system` makes namespaces, devices and
 * eBPF programs, which are the whole host's, so its files run one after another.
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
          exclude: ['**/target/**', '**/node_modules/**'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
